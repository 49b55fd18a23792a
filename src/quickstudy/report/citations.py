"""BibTeX of the papers behind a run, for `quickstudy cite RUN`."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from quickstudy.report.runs import read_config

_ENTRY = re.compile(r"@\w+\{(\w+),.*?^\}", re.MULTILINE | re.DOTALL)

BIBTEX: dict[str, str] = {
    entry[1]: entry[0] for entry in _ENTRY.finditer((files("quickstudy.report") / "references.bib").read_text("utf-8"))
}

# The papers whose experiments the recipes repeat.
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "demo": ("finn2017maml",),
    "sinusoid-maml": ("finn2017maml",),
    "sinusoid-pretrained": ("finn2017maml",),
    "sinusoid-oracle": ("finn2017maml",),
    "sinusoid-meta-sgd": ("li2017metasgd", "finn2017maml"),
    "sinusoid-compare": ("finn2017maml",),
    "sinusoid-np": ("finn2017maml",),
    "gp": ("nguyen2022tnp",),
    "gp-np": ("nguyen2022tnp",),
    "gp-cnp": ("nguyen2022tnp",),
    "sawtooth": ("bruinsma2023autoregressive",),
    "predator-prey": ("bruinsma2023autoregressive",),
    "images": ("garnelo2018cnp", "theis2016note"),
    "cartpole-np": ("garnelo2018np",),
    "cartpole-dynamics": ("garnelo2018np",),
    "swing-up": ("garnelo2018np", "williams2015mppi", "deisenroth2010efficient"),
    "navigation2d-maml": ("finn2017maml",),
    "navigation2d-promp": ("rothfuss2019promp",),
    "navigation2d-pretrained": ("finn2017maml",),
    "navigation2d-oracle": ("finn2017maml",),
    "locomotion-maml": ("finn2017maml", "todorov2012mujoco"),
    "navigation2d-pearl": ("rakelly2019pearl", "duan2016rl2", "finn2017maml"),
    "bandit-rl2": ("duan2016rl2",),
    "gridnavi-rl2": ("duan2016rl2", "zintgraf2020varibad"),
    "gridnavi-varibad": ("zintgraf2020varibad",),
    "page": ("finn2017maml", "garnelo2018np", "nguyen2022tnp", "harrison2018alpaca"),
    "digits-norm": ("bronskill2020tasknorm", "finn2017maml"),
}
# The papers of the learners, objectives, estimators, families and schedules in a run's configuration.
LEARNERS: dict[str, tuple[str, ...]] = {
    "MAML": ("finn2017maml",),
    "FOMAML": ("finn2017maml",),
    "MAMLPlusPlus": ("antoniou2019mamlpp",),
    "WarpGrad": ("flennerhag2020warpgrad",),
    "BayesianMAML": ("yoon2018bmaml", "liu2016svgd"),
    "Reptile": ("nichol2018reptile",),
    "MAMLTRPO": ("finn2017maml", "schulman2015trpo"),
    "MAMLVPG": ("finn2017maml",),
    "ProMP": ("rothfuss2019promp",),
    "RL2": ("duan2016rl2",),
    "VariBAD": ("zintgraf2020varibad",),
    "PEARL": ("rakelly2019pearl", "haarnoja2018sac"),
    "NeuralProcess": ("garnelo2018np",),
    "CNP": ("garnelo2018cnp",),
    "ALPaCA": ("harrison2018alpaca",),
    "MeanAndGP": ("hensman2013hierarchical",),
    "GeneralizedMixedModel": ("breslow1993glmm", "bates2015lme4"),
    "MixedModel": ("laird1982mixed", "bates2015lme4"),
}
OBJECTIVES: dict[str, tuple[str, ...]] = {"iwae": ("burda2016iwae",), "ml": ("foong2020convnp",)}
ESTIMATORS: dict[str, tuple[str, ...]] = {
    "lvc": ("rothfuss2019promp",),
    "dice": ("foerster2018dice",),
    "loaded_dice": ("farquhar2019loaded",),
    "emaml": ("stadie2018emaml",),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "GaussianProcess(": ("rasmussen2006gp",),
    "frequency=(0.8, 1.2)": ("li2017metasgd",),
    "Harmonic(": ("lacoste2018multitask",),
    "SineAndLine(": ("finn2018platipus",),
    "Pendulum(": ("blanes2002splitting",),
    "Pharmacokinetics(": ("pinheiro1995nlme",),
    "PredatorPrey(": ("bruinsma2023autoregressive",),
    "Images(": ("garnelo2018cnp", "theis2016note"),
}
SCHEDULES: dict[str, tuple[str, ...]] = {"cosine": ("loshchilov2017sgdr",), "warmup_cosine": ("loshchilov2017sgdr",)}


def keys_of_run(path: str | Path) -> list[str]:
    """Return the keys of `BIBTEX` for the run at `path` and its parts, the papers of the recipe first."""
    path = Path(path)
    places = [path, *(file.parent for file in sorted(path.glob("*/config.json")))]
    configs = {place: read_config(place) for place in places}
    found: dict[str, None] = {}
    for config in configs.values():
        found |= dict.fromkeys(EXPERIMENTS.get(str(config.get("recipe")), ()))
    for place, config in configs.items():
        try:
            found |= dict.fromkeys(keys_of_config(config))
        except (AttributeError, KeyError, TypeError):
            what = f"{place / 'config.json'} is damaged: it does not describe its learner as quickstudy does"
            raise ValueError(f"{what}; restore it from a copy") from None
    return list(found)


def keys_of_inner_loop(learner: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys for the options of a gradient-based learner, such as Meta-SGD for a learned rate per entry."""
    rule = learner.get("rule") or {}
    rates = rule.get("lr")
    rates = rates if isinstance(rates, Mapping) else {}
    if rates.get("learn") and rates.get("per") == "parameter":
        yield "li2017metasgd"
    if rates.get("learn") and rates.get("per") == "layer" and rates.get("steps") is not None:
        yield "antoniou2019mamlpp"
    if rule.get("class") == "Curvature":
        yield "park2019metacurvature"
    if learner.get("adapt") is not None:
        yield _key_of_adapted(learner)
    if learner.get("implicit") is not None:
        yield "rajeswaran2019imaml"
    if learner.get("mixed_mode"):
        yield "kemaev2025mixflow"


def _key_of_adapted(learner: Mapping[str, Any]) -> str:
    """Return the key for what is adapted: CAVIA for inputs only, BOIL for all but the last layer, else ANIL.

    BOIL is recognised only if the network is an MLP, whose last layer is known.
    """
    adapt, network = learner["adapt"], learner.get("network") or {}
    patterns = [adapt] if isinstance(adapt, str) else list(adapt)
    if set(patterns) <= set(learner.get("inputs") or {}):
        return "zintgraf2019cavia"
    if network.get("class") == "MLP":
        last = f"layers.{len(network['hidden'])}."
        names = [f"{last}{k}" for k in ("weight", "bias")]
        if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return "oh2021boil"
    return "raghu2020anil"


def keys_of_config(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys for one `config.json`: for its learner, objective, tasks, optimiser and schedule."""
    learner = config.get("learner") or {}
    if not learner:  # a run with parts, which have configurations of their own
        return
    yield from LEARNERS.get(str(learner.get("class")), ())
    yield from keys_of_inner_loop(learner)
    if learner.get("class") == "NeuralProcess" and learner.get("paths") != "deterministic":
        yield from OBJECTIVES.get(str(learner.get("objective")), ())
    yield from ESTIMATORS.get(str(learner.get("estimator")), ())
    for start, keys in FAMILIES.items():
        if start in str(config.get("family", "")):
            yield from keys
    optimizer = learner.get("optimizer", config.get("optimizer"))  # a policy has its own, or none, as with TRPO
    if learner.get("class") != "MAMLTRPO" and (optimizer is None or "Adam" in str(optimizer)):
        yield "kingma2015adam"
    yield from SCHEDULES.get(str(config.get("schedule")), ())
