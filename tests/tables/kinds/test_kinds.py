"""Kinds of outcomes: how they are told apart, which learners suit them, and tables of counts and of 0 and 1."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.predictive import Bernoulli, Gaussian
from quickstudy.predictive.blend import Blend
from quickstudy.tables.candidates import Candidate, candidates, fitted
from quickstudy.tables.choosing import ALL, choose
from quickstudy.tables.in_units import InUnits
from quickstudy.tables.judging import held_out, judge
from quickstudy.tables.kinds import generalized
from quickstudy.tables.kinds.outcome import Outcome, outcome_of
from quickstudy.tables.kinds.suited import suited
from quickstudy.tables.model import TableModel
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups


def world(kind: str, groups: int = 18, rows: int = 8, shift: float = 0.0) -> GroupedRows:
    """Groups with random intercepts; y is a count, 0 or 1, or a real number with a few rows that are far off."""
    chance = torch.Generator().manual_seed(0)
    x = torch.arange(rows).double().repeat(groups)
    own = torch.arange(groups).repeat_interleave(rows)
    eta = 1.0 + torch.randn(groups, generator=chance).double()[own] + 0.1 * x
    if kind == "count":
        y = torch.poisson(eta.exp(), generator=chance)
    elif kind == "binary":
        y = torch.bernoulli((2 * eta - 2).sigmoid(), generator=chance)
    else:
        y = eta + 0.1 * torch.randn(len(x), generator=chance).double()
        y[::11] += 8.0
    columns = {"g": [f"g{i}" for i in own.tolist()], "x": x.tolist(), "y": (y + shift).tolist()}
    return read_groups(columns, "g", ("x",), ("y",))


def table_of(y: list[float]) -> GroupedRows:
    columns = {"g": [name for name in "abc" for _ in y], "x": list(range(len(y))) * 3, "y": y * 3}
    return read_groups(columns, "g", ("x",), ("y",))


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        ([0, 1, 1, 0], "binary"),
        ([0, 1, 7, 2], "count"),
        ([1, 2, 3, 5], "number"),  # ratings
        ([0, 40, 70, 90], "number"),
        ([0, 1.5, 2, 3], "number"),
        ([0, -1, 2, 3], "number"),
        ([0.5, 1.0, 2.0, 30.0], "number"),
    ],
)
def test_kinds_are_told_apart(y: list[float], kind: str) -> None:
    assert outcome_of(table_of(y)) == kind


@pytest.mark.parametrize(
    ("said", "y", "words"),
    [
        ("count", [0, 1, 2.5, 3], "y is 2.5 in group a; outcomes of kind 'count' are whole numbers of at least 0"),
        ("binary", [0, 2, 1, 1], "y is 2 in group a; outcomes of kind 'binary' are 0 or 1"),
        ("positive", [0, 1, 2, 3], "y is 0 in group a; outcomes of kind 'positive' are numbers above 0"),
    ],
)
def test_impossible_outcomes(said: Any, y: list[float], words: str) -> None:
    assert outcome_of(table_of([1, 2] if said == "positive" else [0, 1]), said) == said
    with pytest.raises(ValueError, match=words):
        outcome_of(table_of(y), said)


def test_densities_and_probabilities_are_never_mixed() -> None:
    one = torch.zeros(1, 1, 1)
    belief = Blend((Gaussian(one, one + 1), Bernoulli(one)), torch.tensor([0.5, 0.5]))
    for call in (lambda: belief.log_prob(one), lambda: belief.quantile(0.5), lambda: belief.discrete):
        with pytest.raises(ValueError, match="probabilities of whole numbers and of densities"):
            call()
    rows = world("count")
    also = {"normal": candidates(rows)["line"]}
    with pytest.raises(
        ValueError, match=r"'count' need learners that predict probabilities .*, and normal predicts den"
    ):
        choose(rows, outcome="count", also=also)
    with pytest.raises(ValueError, match=r"'number' need learners that predict densities, and nb predicts prob"):
        choose(rows, also={"nb": suited(rows, "count")["nb-line"]})
    wrong = Candidate("counts in standard units", generalized.generalized("poisson", 1, 0))
    scaling = fitted(candidates(rows)["intercept"], rows, rows.names, seed=0, most=4).scaling
    counts = fitted(wrong._replace(discrete=True), rows, rows.names, seed=0, most=4)
    assert bool(counts.scaling.center[1] == 0) and bool(counts.scaling.spread[1] == 1)
    disguised = InUnits(qs.GeneralizedMixedModel(), scaling.to_json())
    with pytest.raises(
        ValueError, match="the learner predicts whole numbers, and the outcomes of this table are scaled"
    ):
        disguised.adapt(held_out(rows, rows.names, (0,))[0].support)(torch.zeros(len(rows.names), 1, 1).double())


@torch.no_grad()
def test_a_blend_of_probabilities_has_whole_quantiles() -> None:
    logits = torch.tensor([[[-1.0], [0.2]]]).double()
    belief = Blend((Bernoulli(logits), Bernoulli(-logits)), torch.tensor([0.25, 0.75]).double())
    assert belief.discrete
    share = 0.25 * logits.sigmoid() + 0.75 * (-logits).sigmoid()
    torch.testing.assert_close(belief.mean, share)
    for p in (0.1, 0.3, 0.5, 0.9):
        assert torch.equal(belief.quantile(p), (1 - share < p).double())


@pytest.mark.parametrize(
    ("kind", "names"),
    [("count", ("everyone", "nb-intercept", "count-process")), ("binary", ("everyone", "logit-intercept"))],
)
def test_tables_of_whole_numbers(kind: Outcome, names: tuple[str, ...], tmp_path: Path) -> None:
    """The mixture beats the curve that never adapts, scores are log probabilities, and it is saved and loaded."""
    rows = world(kind)
    choice = choose(rows, only=names, outcome=kind, steps=30, outer=2, inner=2)
    scores = choice.scores
    assert bool((scores[ALL].rows <= 1e-9).all()) and bool(scores[ALL].density.isfinite().all())
    later = scores[ALL].density[:, -1].mean()
    assert later > scores["everyone"].density[:, -1].mean() + (0.3 if kind == "count" else 0.02)
    assert float(scores[ALL].inside[:, :, 1].mean()) > 0.85
    model = TableModel.of(choice, rows)
    model.save(tmp_path / "m")
    again = TableModel.load(tmp_path / "m")
    support = held_out(rows, rows.names[:2], (4,))[0].support
    x = torch.tensor([[[8.0], [9.0]]]).double().expand(2, -1, -1)
    belief = again.predict(support, x)
    torch.testing.assert_close(belief.mean, model.predict(support, x).mean)
    assert again.outcomes == (kind,) and bool((belief.quantile(0.9) == belief.quantile(0.9).round()).all())
    assert not bool(again.unlike(support).any())
    if kind == "count":
        assert bool(again.unlike(support._replace(y=support.y + 40_000)).all())


def test_coverage_of_counts_is_that_of_the_interval_with_both_ends() -> None:
    rows = world("count", groups=10)
    learner = fitted(suited(rows, "count")["nb-intercept"], rows, rows.names, seed=0, most=4)
    tasks = held_out(rows, rows.names, (2,))
    judged = judge(learner, tasks)
    belief, y = learner.adapt(tasks[0].support)(tasks[0].query.x), tasks[0].query.y
    for k, level in enumerate((0.5, 0.9)):
        interval = belief.interval(level)
        wanted = ((interval.lower <= y) & (y <= interval.upper)).double().mean((1, 2))
        torch.testing.assert_close(judged.inside[:, 0, k], wanted)


def test_rows_that_are_far_off_call_for_students_noise() -> None:
    choice = choose(world("number"), only=("everyone", "curve", "robust"), outer=2, inner=2, seen=(0, 4))
    scores = {name: judged.density[:, -1].mean() for name, judged in choice.scores.items()}
    assert scores["robust"] > scores["curve"] + 0.3 and min(choice.weights["robust"]) > 0.6


def test_positive_outcomes_are_predicted_above_zero() -> None:
    rows = world("number", shift=5.0)
    found = suited(rows, "positive")
    assert set(found) == {"log-everyone", "log-intercept", "log-line", "log-curve", "log-gp", "log-bend"}
    assert all(each.log for each in found.values()) and found["log-everyone"].rival
    learner = fitted(found["log-line"], rows, rows.names, seed=0, most=4)
    belief = learner.adapt(held_out(rows, rows.names, (0,))[0].support)(torch.full((18, 1, 1), -50.0).double())
    assert bool((belief.quantile(0.001) > 0).all())


def test_large_tables_are_fitted_to_some_of_their_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generalized, "MOST_ROWS", 100)
    points = held_out(world("count"), [f"g{i}" for i in range(18)], (0,))[0].query
    few = generalized.some(points, seed=0)
    assert few.num_tasks == 12 and torch.equal(few.y, generalized.some(points, seed=0).y)
    assert torch.equal(generalized.some(points.select(slice(0, 5)), seed=0).y, points.y[:5])


def test_the_commands_say_what_they_take_outcomes_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table with a count and a binary outcome, from the shell: scores, predictions and what is impossible."""
    counts, binary = world("count", 8, 6), world("binary", 8, 6)
    lines = ["g,x,n,ill"]
    for name, a, b in zip(counts.names, counts.rows, binary.rows, strict=True):
        lines += [f"{name},{x:g},{n:g},{ill:g}" for (x, n), (_, ill) in zip(a.tolist(), b.tolist(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quickstudy.tables.outputs.choose", quick)
    assert main(["table", "t.csv", "--group", "g", "--x", "x", "--y", "n", "ill"]) == 0
    said = capsys.readouterr().out
    assert "n: a count, as all values are whole numbers" in said and "ill: a binary outcome, as all values" in said
    assert "negative binomial mixed model" in said and "logistic mixed model" in said
    (tmp_path / "new.csv").write_text("g,x,n,ill\nA,0,3,1\nA,7,,\nB,7,,\n")
    assert main(["predict", "models/t", "new.csv"]) == 0
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["g", "x", "n_mean", "n_sd", "n_q0.05", "n_q0.5", "n_q0.95", "ill_probability"]
    assert all(float(row["n_q0.95"]) % 1 == 0 and 0 < float(row["ill_probability"]) < 1 for row in rows)
    (tmp_path / "bad.csv").write_text("g,x,n,ill\nA,0,3.5,1\nA,7,,\n")
    capsys.readouterr()
    assert main(["predict", "models/t", "bad.csv"]) != 0
    assert "n is 3.5 in group A; outcomes of kind 'count' are whole numbers" in capsys.readouterr().err


def quick(rows: GroupedRows, **options: Any) -> Any:
    """`choose` with two learners and two folds."""
    own = {"count": ("everyone", "nb-intercept"), "binary": ("everyone", "logit-intercept")}
    return choose(rows, **options | {"only": own[options["outcome"]], "outer": 2, "inner": 2})
