"""BatchNorm while a learner is judged: transductive scores, and the warning about running statistics."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.evaluation.modes import evaluating
from quickstudy.report.tables import tables

SIZES: dict[str, Any] = {"tasks": 6, "support": (4, 6), "query": 7, "steps": (0, 2)}
WARNED = "running statistics.*replace_batch_norm.*'task'.*'meta' or 'group'.*transductive=True"


def net(*norms: nn.Module) -> nn.Sequential:
    """With statistics that are not those of the start."""
    made = nn.Sequential(nn.Linear(1, 8), *norms, nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        for _ in range(5):
            made(3 + torch.randn(10, 1))
    return made


def state(learner: nn.Module) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Tensors and modes."""
    modes = [(m.training, getattr(m, "track_running_stats", None)) for m in learner.modules()]
    return copy.deepcopy(learner.state_dict()), modes


def same(a: Any, b: Any) -> bool:
    return a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(v, b[0][k]) for k, v in a[0].items())


LEARNERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "MAML": lambda n: qs.MAML(n, lr=0.1, steps=2),
    "MAML, task by task": lambda n: qs.MAML(n, lr=0.1, steps=2, engine="loop"),
    "MAML++": lambda n: qs.MAMLPlusPlus(n, lr=0.1, steps=2),
    "Reptile": lambda n: qs.Reptile(n, lr=0.1, steps=2),
    "pretrained": lambda n: qs.Pretrained(n, lr=0.1, steps=2),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_transductive_scores_are_those_without_running_statistics(name: str) -> None:
    network = net(nn.BatchNorm1d(8), nn.Dropout())
    learner = LEARNERS[name](network)
    before = state(learner)
    found = qs.evaluate(learner, qs.tasks.Sinusoid(), transductive=True, **SIZES)
    assert same(state(learner), before)
    assert set(found) == {f"transductive/mse/k={k}/steps={s}" for k in (4, 6) for s in (0, 2)}
    rival = LEARNERS[name](qs.nets.replace_batch_norm(network, "transductive"))
    expected = qs.evaluate(rival, qs.tasks.Sinusoid(), **SIZES)
    for key, metric in expected.items():
        assert found[f"transductive/{key}"].values == pytest.approx(metric.values, rel=1e-5)


def test_transductive_scores_differ_from_inductive_ones_and_say_so() -> None:
    learner = qs.MAML(net(nn.BatchNorm1d(8)), lr=0.1, steps=2)
    found = qs.evaluate(learner, qs.tasks.Sinusoid(), transductive=True, **SIZES)
    with pytest.warns(RuntimeWarning, match=WARNED):
        found |= qs.evaluate(learner, qs.tasks.Sinusoid(), **SIZES)
    assert found["mse/k=4/steps=2"].mean != pytest.approx(found["transductive/mse/k=4/steps=2"].mean, rel=0.01)
    (table,) = tables({"maml": {name: metric.to_json() for name, metric in found.items()}})
    assert [row[0] for row in table.rows] == [
        "maml, transductive, before adapting",
        "maml, transductive, after 2 steps",
        "maml, before adapting",
        "maml, after 2 steps",
    ]


def test_normalisation_by_step_is_transductive_too_and_its_statistics_stay() -> None:
    network = net(qs.StepNorm(8, steps=2))
    learner = qs.MAMLPlusPlus(network, lr=0.1, steps=2)
    before = state(learner)
    found = qs.evaluate(learner, qs.tasks.Sinusoid(), transductive=True, **SIZES)
    assert same(state(learner), before)
    plain = qs.evaluate(learner, qs.tasks.Sinusoid(), **SIZES)  # its statistics are the step's own: no warning
    assert plain["mse/k=4/steps=2"].mean != pytest.approx(found["transductive/mse/k=4/steps=2"].mean, rel=0.01)


def test_what_the_family_knows_is_not_transductive() -> None:
    found = qs.evaluate(qs.CNP(width=4), qs.tasks.GaussianProcess(), tasks=4, support=3, query=4, transductive=True)
    assert "oracle_log_likelihood/k=3" in found and "transductive/log_likelihood/k=3" in found
    assert found["transductive/calibration_error/k=3"].values.shape == (4,)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="transductive='yes'; expected True or False"):
        qs.evaluate(qs.CNP(width=4), qs.tasks.Sinusoid(), transductive="yes")  # type: ignore[arg-type]


def test_modes_are_restored_when_judging_fails() -> None:
    learner = qs.MAML(net(nn.BatchNorm1d(8)))
    learner.network[1].eval()
    before = state(learner)
    with pytest.raises(ZeroDivisionError), evaluating(learner, transductive=True):
        assert learner.network[1].training and not learner.network.training
        1 / 0
    assert same(state(learner), before)


def test_running_statistics_are_warned_of_once_for_each_learner() -> None:
    family = qs.tasks.Sinusoid()
    for make in (LEARNERS["MAML"], LEARNERS["MAML++"], LEARNERS["Reptile"], qs.ANIL):
        learner = make(net(nn.BatchNorm1d(8), nn.BatchNorm1d(8)))
        with pytest.warns(RuntimeWarning, match=f"BatchNorm \\(network.1 and 1 more\\).*{WARNED}") as caught:
            qs.evaluate(learner, family, **SIZES)
        assert len(caught) == 1 and caught[0].filename == __file__
        qs.evaluate(learner, family, **SIZES)


def test_fit_warns_too(tmp_path: Path) -> None:
    learner = qs.MAML(net(nn.BatchNorm1d(8)), lr=0.1)
    with pytest.warns(RuntimeWarning, match=WARNED) as caught:
        qs.fit(learner, qs.tasks.Sinusoid(), steps=3, out=tmp_path / "run", tasks=2, validation_tasks=2, compile=False)
    assert len(caught) == 1
    qs.evaluate(learner, qs.tasks.Sinusoid(), **SIZES)
    loaded = qs.load(tmp_path / "run", network=net(nn.BatchNorm1d(8)))
    with pytest.warns(RuntimeWarning, match=WARNED):
        qs.evaluate(loaded, qs.tasks.Sinusoid(), **SIZES)


class Frozen(nn.BatchNorm1d):
    """Stays in eval mode, as in fine-tuning."""

    def train(self, mode: bool = True) -> "Frozen":
        """It does not."""
        del mode
        return super().train(False)


SILENT: dict[str, Callable[[], nn.Module]] = {
    "no running statistics": lambda: qs.MAML(net(nn.BatchNorm1d(8, track_running_stats=False))),
    "transductive": lambda: qs.MAML(qs.nets.replace_batch_norm(net(nn.BatchNorm1d(8)), "transductive")),
    "task": lambda: qs.MAML(qs.nets.replace_batch_norm(net(nn.BatchNorm1d(8)), "task")),
    "group": lambda: qs.MAML(qs.nets.replace_batch_norm(net(nn.BatchNorm1d(8)), "group")),
    "frozen while it trains": lambda: qs.MAML(net(Frozen(8).train())),
    "trained as a plain network": lambda: qs.Pretrained(net(nn.BatchNorm1d(8))),
    "no inner loop": lambda: qs.ALPaCA(net(nn.BatchNorm1d(8))[:-1], features=8),
}


@pytest.mark.parametrize("name", SILENT)
def test_nothing_is_warned_of_where_there_is_no_trap(name: str) -> None:
    learner = SILENT[name]()
    with warnings.catch_warnings(), evaluating(learner):
        warnings.simplefilter("error")


def test_transductive_scores_warn_of_nothing() -> None:
    qs.evaluate(LEARNERS["MAML"](net(nn.BatchNorm1d(8))), qs.tasks.Sinusoid(), transductive=True, **SIZES)
