"""Where a learner without meta-learning is ahead of every meta-learner."""

import math
from typing import Any

import pytest

from quickstudy.report.verdicts import verdicts


def said(values: dict[str, tuple[float | None, float | None]]) -> list[str]:
    """The sentences about these means and intervals."""
    measured: dict[str, Any] = {name: {"mean": mean, "ci95": ci95} for name, (mean, ci95) in values.items()}
    return verdicts({"": measured})


def test_only_intervals_that_do_not_touch_decide() -> None:
    assert said({"np/rmse/k=4": (9.0, 1.0), "gp/rmse/k=4": (7.0, 1.0)}) == []  # they meet in one point
    assert said({"np/rmse/k=4": (5.0, 1.0), "gp/rmse/k=4": (9.0, 1.0)}) == []
    (sentence,) = said({"np/rmse/k=4": (9.0, 1.0), "gp/rmse/k=4": (6.9, 1.0)})
    assert sentence == (
        'At K=4, "GP fitted to the rows seen" is better than every meta-learner (root mean squared error; intervals '
        "do not touch)."
    )
    assert said({"np/rmse/k=4": (9.0, None), "gp/rmse/k=4": (1.0, 0.1)}) == []
    assert said({"np/rmse/k=4": (9.0, 0.1), "gp/rmse/k=4": (1.0, None)}) == []


def test_every_meta_learner_has_to_be_behind() -> None:
    values = {"np/rmse/k=4": (9.0, 0.1), "cnp/rmse/k=4": (4.0, 0.1), "gp/rmse/k=4": (5.0, 0.1)}
    assert said(values) == []
    steps = {f"maml/rmse/k=4/steps={count}": (9.0 - count, 0.1) for count in (0, 3, 6)}
    assert said({**steps, "gp/rmse/k=4": (5.0, 0.1)}) == []
    assert len(said({**steps, "gp/rmse/k=4": (2.0, 0.1)})) == 1
    assert said({"gp/rmse/k=4": (2.0, 0.1), "group_blind/rmse/k=4": (9.0, 0.1)}) == []  # nobody is behind


def test_columns_share_a_sentence_and_metrics_do_not() -> None:
    values = {f"np/{m}/k={k}": (9.0, 0.1) for m in ("rmse", "log_likelihood") for k in (2, 4, 8)}
    values |= {f"group_blind/rmse/k={k}": (mean, 0.1) for k, mean in ((2, 1.0), (4, 1.0), (8, 99.0))}
    values |= {f"group_blind/log_likelihood/k={k}": (mean, 0.1) for k, mean in ((2, 1.0), (4, 1.0), (8, 99.0))}
    first, second = said(values)
    assert first.startswith('At K=2 and K=4, "group-blind mean"') and "root mean squared error" in first
    assert second.startswith('At K=8, "group-blind mean"') and "log-likelihood" in second  # higher is better


def test_tuned_adaptation_takes_the_place_of_untuned() -> None:
    values = {"maml/mse/k=5/steps=1": (2.0, 0.1), "pretrained/mse/k=5/steps=1": (1.0, 0.1)}
    assert len(said(values)) == 1
    tuned = {"maml/tuned_mse/k=5": (0.5, 0.1), "pretrained/tuned_mse/k=5": (0.9, 0.1)}
    assert said(values | tuned) == []
    ahead = {"maml/tuned_mse/k=5": (0.9, 0.1), "pretrained/tuned_mse/k=5": (0.5, 0.1)}
    assert len(said(values | ahead)) == 1
    assert said(values | ahead | {"np/mse/k=5": (0.1, 0.01)}) == []  # it has no tuned value, and is ahead


def test_references_do_not_count_and_divergence_is_behind() -> None:
    values = {"oracle/mse": (0.1, 0.01), "np/mse": (2.0, 0.1), "pretrained/mse": (1.0, 0.1)}
    assert said(values) == [
        '"pretrained" is better than every meta-learner (mean squared error; intervals do not touch).'
    ]
    assert len(said(values | {"maml/mse": (None, None), "cnp/mse": (math.nan, None)})) == 1
    assert said({"maml/mse": (None, None), "pretrained/mse": (1.0, 0.1)}) == []


def test_several_runs_and_episodes() -> None:
    value = {"mean": 9.0, "ci95": 0.1}
    runs = {"a": {"np/return/episode=1": value}, "b": {"dqn/return/episode=1": {"mean": 20.0, "ci95": 0.1}}}
    assert verdicts(runs)[0].startswith('At episode 1, "b, DQN, from scratch" is better')
    runs["b"] = {"dqn/return/episode=150": {"mean": 20.0, "ci95": 0.1}}
    assert verdicts(runs) == []


@pytest.mark.parametrize("name", ["validation_loss", "coverage90", "factor"])
def test_metrics_without_an_order(name: str) -> None:
    assert said({f"np/{name}": (9.0, 0.1), f"gp/{name}": (1.0, 0.1)}) == []
