"""The neural processes that recipes offer as `--model`."""

from collections.abc import Callable
from typing import Any, Literal

from torch import nn

import quickstudy as qs
from quickstudy.processes.heads.head import Head

Model = Literal[
    "cnp",
    "np",
    "attentive-cnp",
    "attentive-np",
    "bnp",
    "banp",
    "relative-cnp",
    "conv-cnp",
    "conv-np",
    "flow-np",
    "tnp",
    "tnp-a",
    "tnp-nd",
    "inc-tnp",
    "lbanp",
    "te-tnp",
]
HeadName = Literal["gaussian", "mixture", "low-rank", "dense", "bar"]

HEADS: dict[HeadName, Callable[[float], Head]] = {
    "gaussian": lambda floor: qs.heads.GaussianHead(floor),
    "mixture": lambda floor: qs.heads.MixtureHead(20, floor),
    "low-rank": lambda floor: qs.heads.LowRankHead(64, floor),
    "dense": lambda floor: qs.heads.DenseHead(64, floor),
    "bar": lambda _: qs.heads.BarHead.between(-3, 3, 300),
}
BOOTSTRAPPING: dict[Model, Any] = {"bnp": qs.BootstrappingNP, "banp": qs.BootstrappingANP}
WITH_A_HEAD: dict[Model, Any] = {
    "np": qs.NeuralProcess,
    "attentive-np": qs.AttentiveNP,
    "conv-np": qs.ConvNP,
    "cnp": qs.CNP,
    "attentive-cnp": qs.AttentiveCNP,
    "relative-cnp": qs.RelativeCNP,
    "conv-cnp": qs.ConvCNP,
    "tnp": qs.TNP,
    "tnp-a": qs.TNPA,
    "inc-tnp": qs.IncTNP,
    "lbanp": qs.LBANP,
    "te-tnp": qs.TETNP,
}
OWN_BELIEF: dict[Model, Callable[[int, int, float], nn.Module]] = {  # joint, and without a choice of head
    "flow-np": lambda dx, dy, _: qs.FlowNP(dx, dy),
    "tnp-nd": lambda dx, dy, floor: qs.TNPND(dx, dy, floor=floor),
}
TITLES: dict[Model, str] = {
    "cnp": "CNP",
    "np": "Neural Process",
    "attentive-cnp": "Attentive CNP",
    "attentive-np": "Attentive NP",
    "bnp": "Bootstrapping NP",
    "banp": "Bootstrapping ANP",
    "relative-cnp": "RelativeCNP",
    "conv-cnp": "ConvCNP",
    "conv-np": "ConvNP",
    "flow-np": "FlowNP",
    "tnp": "TNP",
    "tnp-a": "TNP-A",
    "tnp-nd": "TNP-ND",
    "inc-tnp": "IncTNP",
    "lbanp": "LBANP",
    "te-tnp": "TETNP",
}


def build(
    model: Model,
    dx: int = 1,
    dy: int = 1,
    *,
    head: HeadName = "gaussian",
    sigma_floor: float = 1e-3,
    domain: tuple[float, float] = (-2.0, 2.0),
    points_per_unit: float | None = None,
    levels: int | None = None,
) -> nn.Module:
    """A process with the sizes that are its defaults.

    Args:
        model: its name.
        dx: number of features of an input.
        dy: number of features of an output.
        head: the kind of belief at a point; the models in `BOOTSTRAPPING` and `OWN_BELIEF` have only their own.
        sigma_floor: the smallest standard deviation that it can predict, in units of y.
        domain, points_per_unit, levels: the grid of models that have one; see `qs.ConvCNP`. None is their default.

    Raises:
        ValueError: for a model without a choice of head, and another head; for bars or flow-np with a floor.
    """
    if head == "bar" and sigma_floor != 1e-3:
        raise ValueError("--head bar has no smallest standard deviation; leave --sigma-floor out")
    if model == "flow-np" and sigma_floor != 1e-3:
        raise ValueError("--model flow-np has no smallest standard deviation; leave --sigma-floor out")
    if model in OWN_BELIEF:
        if head != "gaussian":
            raise ValueError(f"--model {model} has a joint belief of its own; leave --head {head} out")
        return OWN_BELIEF[model](dx, dy, sigma_floor)
    grid = {"domain": domain, "points_per_unit": points_per_unit, "levels": levels}
    given = {name: value for name, value in grid.items() if value is not None}
    own: dict[str, Any] = given if model in ("conv-cnp", "conv-np") else {}
    if model in BOOTSTRAPPING:
        if head != "gaussian":
            raise ValueError(f"--model {model} has a Gaussian head; leave --head {head} out")
        made: nn.Module = BOOTSTRAPPING[model](dx, dy, sigma_floor=sigma_floor)
        return made
    made = WITH_A_HEAD[model](dx, dy, head=HEADS[head](sigma_floor), **own)
    return made
