"""The scenes that come with the package."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.play.functions.scene import Functions, Player, Scene, Slider, Truth
from quickstudy.processes.conditional import ConditionalPredictor
from quickstudy.recipes.page.curves import Curves
from quickstudy.recipes.page.families import FAMILIES, HOURS, PageFamily
from quickstudy.tasks import GaussianProcess
from quickstudy.tasks.sampling import bounds

PLACES = 12  # at which a function of a conditional process is drawn; between them it is the mean
LEARNERS = {
    "maml": (
        "MAML",
        "gradient",
        "Starts from a learned function and takes gradient steps on your points. With 0 steps you see where every task "
        "begins.",
    ),
    "np": (
        "Neural Process",
        "closed",
        "Reads your points into one latent variable. Few points leave many functions, more leave few: watch them move.",
    ),
    "tnp": (
        "Transformer Process",
        "closed",
        "Every input attends to your points. The band should be narrow near them, and wide where nothing was seen.",
    ),
    "alpaca": (
        "ALPaCA",
        "closed",
        "An exact Bayesian last layer on learned features: one step of algebra does what gradient steps do slowly.",
    ),
    "pretrained": (
        "Pretrained",
        "gradient",
        "The plain rival: trained on all functions at once, so it begins with their average, and is fine-tuned.",
    ),
}
EXACT = "Bayes' rule with the true family. No learner does better on average; a good one looks like this."
ABOUT = {
    "sine": "Amplitude and phase differ between waves, as in the MAML paper; a point has noise.",
    "rbf": "Smooth functions whose length scale and size are unknown, as in the papers on Neural Processes.",
    "sawtooth": "Functions with jumps, at an unknown pace.",
    "drug": "The logarithm of a drug's concentration after a dose; people absorb and lose it at their own rates.",
}
AXES = {"drug": ("hours since the dose", "log concentration"), "": ("x", "y")}


def built_in() -> dict[str, Scene]:
    """All scenes, with their trained learners."""
    return {name: _scene(name, page) for name, page in FAMILIES.items()}


def _scene(name: str, page: PageFamily) -> Scene:
    family = page.family
    players = {key: _player(key, f"{key}/{name}") for key in LEARNERS}
    exact = functions(lambda support, _: page.posterior(support))
    players["exact"] = Player("Exact posterior", "exact", lambda s, _, __: page.posterior(s), 0, EXACT, exact)
    curve = isinstance(family, Curves)
    return Scene(
        page.title,
        ABOUT[name],
        family.domain,
        page.heights,
        AXES.get(name, AXES[""]),
        bounds(family.noise)[0],
        tuple(Slider(*p) for p in family.parameters) if curve else _gp_sliders(family),
        _curve_of(family) if curve else _gp_draw(family),
        players,
        HOURS if name == "drug" else 1.0,
    )


def _player(key: str, name: str) -> Player:
    title, kind, note = LEARNERS[key]
    learner = qs.load(name)
    return Player(title, kind, adapter(learner), learner.steps if kind == "gradient" else 0, note, drawn(learner))


def adapter(learner: Any) -> Callable[[Examples, int | None, torch.Generator], Any]:
    """The learner's `adapt`, with the arguments of a player."""
    return lambda support, steps, generator: learner.adapt(support, steps=steps, generator=generator)


def drawn(learner: Any) -> Functions | None:
    """How functions are drawn from the learner's beliefs; None if it has only one function."""
    nothing = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
    predictor = learner.adapt(nothing)
    if isinstance(predictor, ConditionalPredictor):
        return chained(learner)
    try:
        predictor.functions(1, torch.Generator())
    except (AttributeError, NotImplementedError):
        return None
    return functions(lambda support, generator: learner.adapt(support, generator=generator))


def functions(adapt: Callable[[Examples, torch.Generator], Any]) -> Functions:
    """Functions that a predictor draws itself."""

    def draw(support: Examples, n: int, x: Tensor, generator: torch.Generator) -> Tensor:
        found: Tensor = adapt(support, generator).functions(n, generator)(x.reshape(1, -1, 1))
        return found[:, 0, :, 0]

    return draw


def chained(learner: Any) -> Functions:
    """Functions by the chain rule at a few places, and the mean given their values between these.

    (Bruinsma et al. 2023, section 2.) A value is drawn as an observation is, as the process cannot tell its noise from
    the function's own spread.
    """

    def draw(support: Examples, n: int, x: Tensor, generator: torch.Generator) -> Tensor:
        places = torch.linspace(float(x[0]), float(x[-1]), PLACES)[torch.randperm(PLACES, generator=generator)]
        predictor = learner.adapt(Examples(*(part.expand(n, -1, -1) for part in support[:2])), generator=generator)
        for place in places:
            at = place.expand(n, 1, 1)
            predictor = predictor.append(Examples(at, predictor(at).sample(1, generator)[0]))
        found: Tensor = predictor(x.reshape(1, -1, 1).expand(n, -1, 1)).mean
        return found[..., 0]

    return draw


def _curve_of(family: Curves) -> Callable[[Mapping[str, float], int], Truth]:
    def hidden(values: Mapping[str, float], _: int) -> Truth:
        theta = torch.tensor([values[p.name] for p in family.parameters])
        return lambda x: family.curve(theta, x)

    return hidden


def _gp_sliders(family: GaussianProcess) -> tuple[Slider, ...]:
    return (
        Slider("lengthscale", *bounds(family.lengthscale), "length scale"),
        Slider("scale", *bounds(family.scale), "scale"),
    )


def _gp_draw(family: GaussianProcess) -> Callable[[Mapping[str, float], int], Truth]:
    """A function drawn by random Fourier features, which have a value everywhere."""
    features = 500

    def hidden(values: Mapping[str, float], seed: int) -> Truth:
        chance = torch.Generator().manual_seed(seed)
        pace = torch.randn(features, generator=chance) / values["lengthscale"]
        phase = 2 * math.pi * torch.rand(features, generator=chance)
        size = values["scale"] * torch.randn(features, generator=chance) * math.sqrt(2 / features)
        return lambda x: (torch.cos(x.unsqueeze(-1) * pace + phase) * size).sum(-1)

    return hidden
