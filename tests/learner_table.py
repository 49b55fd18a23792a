"""Every learner, one row: what the contract tests run over. A new learner adds a line here."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from quickstudy import likelihoods
from quickstudy.data import Examples
from quickstudy.gradient.anil import ANIL
from quickstudy.gradient.bayesian_maml import BayesianMAML
from quickstudy.gradient.boil import BOIL
from quickstudy.gradient.cavia import CAVIA
from quickstudy.gradient.fomaml import FOMAML
from quickstudy.gradient.imaml import iMAML
from quickstudy.gradient.maml import MAML
from quickstudy.gradient.maml_plus_plus import MAMLPlusPlus
from quickstudy.gradient.meta_curvature import MetaCurvature
from quickstudy.gradient.meta_sgd import MetaSGD
from quickstudy.gradient.pretrained import Pretrained
from quickstudy.gradient.reptile import Reptile
from quickstudy.gradient.warp_grad import WarpGrad
from quickstudy.inner.optimizers import SGD
from quickstudy.inner.rates import Rates
from quickstudy.metric.alpaca import ALPaCA
from quickstudy.metric.bases import NaturalSpline
from quickstudy.metric.compartments.compartment_model import CompartmentModel
from quickstudy.metric.deep_mean_gp import DeepMeanGP
from quickstudy.metric.generalized.generalized_mixed_model import GeneralizedMixedModel
from quickstudy.metric.mean_and_gp.mean_and_gp import MeanAndGP
from quickstudy.metric.mixed.mixed_model import MixedModel
from quickstudy.nets import MLP, WarpedMLP
from quickstudy.processes.attentive_cnp import AttentiveCNP
from quickstudy.processes.attentive_np import AttentiveNP
from quickstudy.processes.bootstrapping_np import BootstrappingANP, BootstrappingNP
from quickstudy.processes.cnp import CNP
from quickstudy.processes.conv_cnp import ConvCNP
from quickstudy.processes.conv_np import ConvNP
from quickstudy.processes.flow_np import FlowNP
from quickstudy.processes.heads import BarHead, DenseHead, GaussianHead, LowRankHead, MixtureHead, WithMissing
from quickstudy.processes.inc_tnp import IncTNP
from quickstudy.processes.lbanp import LBANP
from quickstudy.processes.neural_process import NeuralProcess
from quickstudy.processes.relative_cnp import RelativeCNP
from quickstudy.processes.te_tnp import TETNP
from quickstudy.processes.tnp import TNP
from quickstudy.processes.tnp_a import TNPA
from quickstudy.processes.tnp_nd import TNPND
from quickstudy.testing.learner_case import Lines as Lines

SMALL = {"width": 16, "depth": 2, "heads": 2, "hidden": 32, "embedding": 2}
GRID: dict[str, Any] = {"domain": (-5, 5), "points_per_unit": 4, "channels": 8, "levels": 2}


def net(outputs: int = 1, *, inputs: int = 1) -> MLP:
    """Smooth, so that finite differences are exact to many digits."""
    return MLP(inputs, [16, 16], outputs, activation="tanh")


def implicit(steps: int = 4) -> MAML:
    """iMAML with few steps, for properties that any number of steps shows."""
    network = MLP(1, [8], 1, activation="tanh")
    return iMAML(network, lam=4.0, steps=steps, cg_steps=steps // 2, rule=SGD(0.1, momentum=0.2))


def solved() -> MAML:
    """An inner problem so convex, and so many steps, that its solution is reached, where iMAML's gradient is exact."""
    return implicit(24)


PROCESSES: dict[str, Callable[[], nn.Module]] = {
    "CNP": lambda: CNP(width=32, encoder_depth=2),
    "CNP, mixture": lambda: CNP(width=32, encoder_depth=2, head=MixtureHead(3)),
    "CNP, low rank": lambda: CNP(width=32, encoder_depth=2, head=LowRankHead(3)),
    "CNP, dense": lambda: CNP(width=32, encoder_depth=2, head=DenseHead(3)),
    "CNP, missing outputs": lambda: CNP(width=32, encoder_depth=2, head=WithMissing(GaussianHead())),
    "CNP, bars": lambda: CNP(width=32, encoder_depth=2, head=BarHead.between(-4, 4, 40)),
    "AttentiveCNP": lambda: AttentiveCNP(width=16, encoder_depth=2, heads=2),
    "AttentiveCNP, no self-attention": lambda: AttentiveCNP(width=16, encoder_depth=2, heads=2, self_attention=0),
    "AttentiveNP": lambda: AttentiveNP(width=16, latent=8, encoder_depth=2, heads=2, samples=4),
    "AttentiveNP, no self-attention, ml": lambda: AttentiveNP(
        width=16, latent=8, encoder_depth=2, heads=2, samples=4, objective="ml", self_attention=0
    ),
    "BootstrappingNP": lambda: BootstrappingNP(width=16, encoder_depth=2, samples=4),
    "BootstrappingANP": lambda: BootstrappingANP(width=16, encoder_depth=2, heads=2, self_attention=0, samples=4),
    "ConvCNP": lambda: ConvCNP(**GRID),
    "ConvNP": lambda: ConvNP(**GRID, latent=2, samples=4, train_samples=4),
    "FlowNP": lambda: FlowNP(**SMALL, solver_steps=3, samples=6),
    "RelativeCNP": lambda: RelativeCNP(width=16),
    "RelativeCNP, pairs": lambda: RelativeCNP(width=16, pairs=True),
    "LBANP": lambda: LBANP(**SMALL, latents=3),
    "TETNP": lambda: TETNP(**SMALL),
    "TNP": lambda: TNP(**SMALL),
    "TNPA": lambda: TNPA(**SMALL),
    "TNPND": lambda: TNPND(**SMALL, rank=3, mixing=1),
    "IncTNP": lambda: IncTNP(**SMALL),
    "IncTNP, query": lambda: IncTNP(**SMALL, objective="query"),
    "NeuralProcess, latent": lambda: NeuralProcess(width=32, latent=8, paths="latent", samples=4),
    "NeuralProcess, both, iwae": lambda: NeuralProcess(width=32, latent=8, objective="iwae", samples=4),
    "NeuralProcess, both, ml": lambda: NeuralProcess(width=32, latent=8, objective="ml", samples=4),
    "NeuralProcess, deterministic": lambda: NeuralProcess(width=32, latent=8, paths="deterministic", samples=4),
}

LEARNERS: dict[str, Callable[[], nn.Module]] = {
    "MAML": lambda: MAML(net(), lr=0.1, steps=2),
    "MAML, loop": lambda: MAML(net(), lr=0.1, steps=2, engine="loop"),
    "MAML, Gaussian": lambda: MAML(net(), lr=0.03, likelihood=likelihoods.Gaussian(0.3)),
    "MAML, learned noise": lambda: MAML(net(), lr=0.03, likelihood=likelihoods.Gaussian(0.5, learn=True)),
    "MAML, heteroscedastic": lambda: MAML(net(2), lr=0.03, likelihood=likelihoods.HeteroscedasticGaussian(0.05)),
    "FOMAML": lambda: FOMAML(net(), lr=0.1, steps=2),
    "MAML++, at first": lambda: at_first(MAMLPlusPlus(net(), lr=0.1, steps=3)),
    "MAML++, later": lambda: MAMLPlusPlus(net(), lr=0.1, steps=2),
    "WarpGrad": lambda: WarpGrad(WarpedMLP(1, [8, 8], 1, activation="tanh"), lr=0.1, steps=2),
    "BayesianMAML": lambda: BayesianMAML(MLP(1, [8], 1, activation="tanh"), particles=2, lr=0.1, steps=2),
    "BayesianMAML, learned rates": lambda: particles_with_rates(MLP(1, [8], 1, activation="tanh")),
    "ANIL": lambda: ANIL(net(), lr=0.1, steps=2),
    "BOIL": lambda: BOIL(net(), lr=0.1, steps=2),
    "MetaSGD": lambda: MetaSGD(net(), lr=0.1, steps=2),
    "MetaCurvature": lambda: MetaCurvature(net(), lr=0.1, steps=2),
    "CAVIA": lambda: CAVIA(net(inputs=1 + 2), context=2),
    "iMAML": implicit,
    "Reptile": lambda: Reptile(net(), lr=0.1, steps=3),
    "Reptile, support, learned noise": lambda: Reptile(
        net(), lr=0.03, steps=3, data="support", likelihood=likelihoods.Gaussian(0.5, learn=True)
    ),
    "Pretrained": lambda: Pretrained(net(), lr=0.1, steps=5),
    "ALPaCA": lambda: ALPaCA(net(8), noise=0.2),
    "ALPaCA, fixed noise": lambda: ALPaCA(net(24), noise=0.1, learn_noise=False),
    "MixedModel": lambda: MixedModel(),
    "MixedModel, fitted": lambda: fitted("MixedModel"),
    "GeneralizedMixedModel, student": lambda: GeneralizedMixedModel(likelihood="student", random=1),
    "GeneralizedMixedModel, student, fitted": lambda: fitted("GeneralizedMixedModel, student"),
    "DeepMeanGP": lambda: DeepMeanGP(network=net()),
    "DeepMeanGP, deep kernel": lambda: DeepMeanGP(network=net(), features=net(3), width=3, kernel="matern52"),
    "MeanAndGP": lambda: MeanAndGP(inducing=4),
    "CompartmentModel": lambda: CompartmentModel(draws=60, populations=4),
    "CompartmentModel, two, carry-over": lambda: CompartmentModel(
        compartments=2, carry_over=True, limit=0.5, draws=60, populations=4
    ),
    "MeanAndGP, fitted": lambda: fitted("MeanAndGP"),
    **PROCESSES,
}

GRADIENT = "gradients equal finite differences"
FUNCTION = "torch func gives the same gradient"
LOW_RANK = "a linear rule gives the same on low rank weights"
QUANTILES = "quantiles invert the distribution function"
# whose gradient is by definition not the derivative of their loss
NOT_A_DERIVATIVE = frozenset({"FOMAML", "Reptile", "Reptile, support, learned noise", "WarpGrad"})
DRAWS = frozenset(
    {"NeuralProcess, latent", "NeuralProcess, both, iwae", "NeuralProcess, both, ml"}
    | {"AttentiveNP", "AttentiveNP, no self-attention, ml", "BootstrappingNP", "BootstrappingANP"}
    | {"ConvNP", "FlowNP"}
)
STEPS_LINEARLY = frozenset({"MAML", "MAML, loop", "FOMAML", "ANIL", "BOIL", "CAVIA"}) | {
    name for name in LEARNERS if name.startswith("MAML, ")
}
# which learn from squared errors
WITHOUT_DENSITY = frozenset(
    {"MAML", "MAML, loop", "FOMAML", "MAML++, at first", "MAML++, later", "WarpGrad", "ANIL", "BOIL"}
    | {"MetaSGD", "MetaCurvature", "CAVIA", "iMAML", "Reptile", "Pretrained"}
)
# which properties are not promised, and why
ORDER, MEAN = "the order of the support set does not matter", "the loss is a mean over query points"
BOOTSTRAPS = {ORDER: "it resamples points by their places", GRADIENT: "no gradient goes through the resampling"}
EXCEPTIONS: dict[str, dict[str, str]] = {
    name: {GRADIENT: "by definition its gradient is not the derivative of its value"} for name in NOT_A_DERIVATIVE
} | {
    "CNP, low rank": {MEAN: "its loss is the joint density"},
    "TNPA": {MEAN: "its loss is the joint density"},
    "TNPND": {MEAN: "its loss is the joint density"},
    "CNP, dense": {MEAN: "its loss is the joint density"},
    "IncTNP": {ORDER: "it is causal", MEAN: "it predicts support points as well, each from those before it"},
    "IncTNP, query": {ORDER: "it is causal"},
    "BootstrappingNP": BOOTSTRAPS,
    "BootstrappingANP": BOOTSTRAPS,
}
# fewer points where the cost grows with the square of the support set
FEWER = ("TNP", "TNPA", "TNPND", "IncTNP", "IncTNP, query", "TETNP", "AttentiveCNP", "AttentiveNP", "BootstrappingANP")
MANY_POINTS = dict.fromkeys(FEWER, 500) | {
    "FlowNP": 60,
    "RelativeCNP": 200,
    "DeepMeanGP": 1000,
    "DeepMeanGP, deep kernel": 1000,
    "MeanAndGP": 1000,
    "MeanAndGP, fitted": 1000,
    "CNP, dense": 300,
    "RelativeCNP, pairs": 20,
}
# which properties do not apply to a learner, for want of what they are about
WITHOUT: dict[str, frozenset[str]] = {
    MEAN: DRAWS,
    FUNCTION: DRAWS | {"iMAML"},
    QUANTILES: WITHOUT_DENSITY,
    LOW_RANK: frozenset(LEARNERS) - STEPS_LINEARLY,
    "training progress is accepted": frozenset(name for name in LEARNERS if not name.startswith("MAML++")),
}


def made(name: str) -> nn.Module:
    """A process whose outputs depend on its inputs, as the last layers of new ones are near zero."""
    torch.manual_seed(0)
    process = PROCESSES[name]()
    with torch.no_grad():
        for module in process.modules():
            if isinstance(module, nn.Linear) and module.weight.abs().max() < 0.02:
                module.weight.mul_(100)
    return process


def particles_with_rates(network: MLP) -> BayesianMAML:
    """Rates for every entry, steps on squared errors, a learned temperature."""
    own = {"inner_likelihood": likelihoods.Gaussian(1.0), "temperature": nn.Parameter(torch.tensor(0.5))}
    return BayesianMAML(network, particles=3, lr=Rates(network, 0.03, per="parameter"), steps=2, **own)


def fitted(name: str) -> nn.Module:
    """Fitted to 20 tasks of `Lines` with noise, so that no scale, center or covariance is that of a new one."""
    return copy.deepcopy(_fitted(name, torch.get_default_dtype()))


@cache
def _fitted(name: str, dtype: torch.dtype) -> nn.Module:
    """Fitted under the default type `dtype`."""
    tasks = Lines().sample(20, support=0, query=6, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(tasks.query.y.shape, generator=torch.Generator().manual_seed(4))
    learner: Any = {
        "MixedModel": lambda: MixedModel(fixed=NaturalSpline(3), covariance="diagonal"),
        "GeneralizedMixedModel, student": lambda: GeneralizedMixedModel(likelihood="student", fixed=NaturalSpline(3)),
        "MeanAndGP": lambda: MeanAndGP(inducing=4, kernel="matern52"),
    }[name]()
    learner.fit(tasks.query._replace(y=2 + 3 * tasks.query.y + 0.3 * noise))
    return learner


def at_first(learner: MAMLPlusPlus) -> MAMLPlusPlus:
    """When its losses after every step count alike."""
    learner.anneal(0.0)
    return learner


def masked(examples: Examples, sizes: list[int], fill: float = float("nan")) -> Examples:
    """The first `sizes[t]` points of every task real, the rest padding that holds `fill`."""
    mask = torch.arange(examples.num_points) < torch.tensor(sizes)[:, None]
    wide = mask[:, :, None]
    return Examples(examples.x.where(wide, fill), examples.y.where(wide, fill), mask)
