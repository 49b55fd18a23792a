"""Statistics over runs and tasks against scipy, brute force and known coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from quickstudy.evaluation.bootstrap import Interval
from quickstudy.rl.evaluation import (
    aggregate,
    by_adaptation_step,
    interquartile_mean,
    median,
    performance_profile,
    probability_of_improvement,
)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 1), (3, 4), (5, 7), (10, 26)])
def test_point_estimates_are_those_of_scipy_and_numpy(shape):
    scores = np.random.default_rng(0).standard_t(2, shape)
    found = aggregate(scores, resamples=10)
    assert found["iqm"].value == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None))
    assert found["mean"].value == pytest.approx(scores.mean())
    assert found["median"].value == pytest.approx(np.median(scores.mean(0)))


def test_statistics_take_batches():
    batch = torch.randn(6, 3, 5)
    for statistic in (interquartile_mean, median):
        torch.testing.assert_close(statistic(batch), torch.stack([statistic(scores) for scores in batch]))


def every_resample(scores):
    """All equally likely stratified resamples of runs within tasks."""
    runs, tasks = scores.shape
    for picks in itertools.product(itertools.product(range(runs), repeat=runs), repeat=tasks):
        yield np.stack([scores[list(pick), task] for task, pick in enumerate(picks)], 1)


def test_intervals_are_quantiles_of_all_resamples():
    scores = np.array([[0.0, 10.0], [1.0, 13.0], [5.0, 11.0]])
    every = list(every_resample(scores))
    assert len(every) == 27**2
    found = aggregate(scores, resamples=40_000)
    for name, statistic in (
        ("mean", np.mean),
        ("iqm", lambda s: scipy.stats.trim_mean(s, 0.25, axis=None)),
        ("median", lambda s: np.median(s.mean(0))),
    ):
        values = [statistic(sample) for sample in every]
        # a bootstrap draws from a discrete distribution: its quantile lies between those a little to each side
        for end, q in ((found[name].low, 0.025), (found[name].high, 0.975)):
            assert np.quantile(values, q - 0.005) - 1e-9 <= end <= np.quantile(values, q + 0.005) + 1e-9


def test_runs_are_drawn_within_tasks():
    """Where runs agree nothing varies, however much tasks differ; unless tasks are drawn."""
    scores = torch.arange(6.0).expand(4, 6)
    found = aggregate(scores)
    assert all(i.low == i.high == i.value for i in found.values())
    wide = aggregate(scores, over_tasks=True)["mean"]
    assert wide.low < 2.5 < wide.high and wide.high - wide.low > 1.5
    values = torch.randint(6, (20_000, 6)).double().mean(1)
    assert wide.low == pytest.approx(values.quantile(0.025).item(), abs=0.2)


def test_intervals_cover():
    """95% intervals of a mean of 20 runs on 10 tasks hold the truth about as often (percentiles: a little less)."""
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for seed in range(200):
        scores = torch.randn(20, 10, generator=generator) + torch.arange(10.0)
        found = aggregate(scores, statistics=("mean",), resamples=300, seed=seed)["mean"]
        hits += found.low <= 4.5 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_equal_seeds_give_equal_intervals():
    scores = torch.randn(5, 4)
    assert aggregate(scores, seed=1) == aggregate(scores.numpy(), seed=1) != aggregate(scores, seed=2)
    state = torch.get_rng_state()
    aggregate(scores)
    assert torch.equal(torch.get_rng_state(), state)


def test_large_bootstraps_go_in_parts(monkeypatch):
    from quickstudy.evaluation import bootstrap

    scores = torch.randn(8, 5)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 90)
    small = aggregate(scores, resamples=3000)["iqm"]
    monkeypatch.undo()
    large = aggregate(scores, resamples=3000)["iqm"]
    assert small.low == pytest.approx(large.low, abs=0.05) and small.value == large.value


def test_probability_of_improvement_is_mann_whitney():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, (6, 4)).astype(float), rng.integers(0, 5, (3, 4)).astype(float)
    expected = np.mean([scipy.stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 18 for t in range(4)])
    found = probability_of_improvement(x, y)
    assert found.value == pytest.approx(expected) and found.low < found.value < found.high
    back = probability_of_improvement(y, x)
    assert back.value == pytest.approx(1 - expected)
    assert probability_of_improvement(x, x).value == 0.5
    assert probability_of_improvement(x + 9, y)[:3] == (1.0, 1.0, 1.0)
    values = []
    for _ in range(2000):
        a, b = x[rng.integers(0, 6, (6, 4)), np.arange(4)], y[rng.integers(0, 3, (3, 4)), np.arange(4)]
        values.append((np.sign(a[:, None] - b[None]) / 2 + 0.5).mean())
    assert found.low == pytest.approx(np.quantile(values, 0.025), abs=0.04)
    assert found.high == pytest.approx(np.quantile(values, 0.975), abs=0.04)


def test_profiles_are_shares_above():
    scores = np.random.default_rng(0).normal(size=(6, 5))
    thresholds = np.linspace(-2, 2, 9)
    found = performance_profile(scores, thresholds)
    np.testing.assert_allclose(found.share.numpy(), [(scores > t).mean() for t in thresholds])
    assert (found.low <= found.share).all() and (found.share <= found.high).all()
    assert (found.share.diff() <= 0).all() and (found.low.diff() <= 0).all() and (found.high > found.low).any()
    assert performance_profile([[1.0]], [1.0]).share.item() == 0.0  # strictly above
    assert performance_profile([[1.0]], [1.0]).low.isnan().all()


def test_one_run_has_no_interval():
    found = aggregate([[1.0, 2.0, 3.0]])
    assert found["mean"].value == 2.0 and math.isnan(found["mean"].low) and math.isnan(found["mean"].high)
    assert found["mean"].to_json() == {"value": 2.0, "low": None, "high": None}
    assert aggregate([[1.0, 2.0, 3.0]], over_tasks=True)["mean"].low < 2.0


def test_the_table_has_a_row_for_each_step():
    returns = torch.randn(4, 3, 5)
    table = by_adaptation_step(returns, statistics=("mean", "iqm"), seed=3)
    assert [row["step"] for row in table] == [0, 1, 2, 3] and set(table[0]) == {"step", "mean", "iqm"}
    assert table[2]["mean"] == aggregate(returns[2], seed=3)["mean"]
    assert isinstance(table[0]["iqm"], Interval) and "[" in str(table[0]["iqm"])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \[R, T\]"):
        aggregate([1.0, 2.0])
    with pytest.raises(ValueError, match="nan in run 1, task 0"):
        aggregate([[1.0], [math.nan]])
    with pytest.raises(ValueError, match="unknown statistics"):
        aggregate([[1.0]], statistics=("mode",))
    with pytest.raises(ValueError, match="resamples=0"):
        aggregate([[1.0]], resamples=0)
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="no returns"):
        by_adaptation_step([])
