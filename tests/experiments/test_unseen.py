"""Measuring on unseen tasks: which tasks they are, references, units."""

import math

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.experiments.unseen import (
    Moments,
    Unseen,
    between,
    chain_rule,
    has_chain_rule,
    in_units,
    measure,
    moments,
)


def _sizes(chance: torch.Generator) -> tuple[int, int]:
    return between(0, 4, chance), between(3, 5, chance)


def _unseen(count: int, batch: int = 4) -> Unseen:
    return Unseen(qs.tasks.GaussianProcess(), _sizes, count, 7, batch)


def test_the_first_tasks_of_more_are_the_same() -> None:
    few, more = (list(_unseen(count).batches(torch.device("cpu"))) for count in (8, 12))
    assert [tasks.num_tasks for tasks, _ in more] == [4, 4, 4]
    for (one, _), (other, _) in zip(few, more, strict=False):
        assert torch.equal(one.query.y, other.query.y)
    assert len({(tasks.support.num_points, tasks.query.num_points) for tasks, _ in more}) > 1


def test_scores_of_the_learner_the_oracle_and_a_reference() -> None:
    found = measure(qs.CNP(width=8), _unseen(6), {"normal/log_likelihood": Moments(*torch.ones(2, 1)).log_likelihood})
    assert {"mse", "log_likelihood", "oracle_log_likelihood", "normal/log_likelihood"} <= set(found)
    assert all(metric.n == 6 for metric in found.values())


def test_the_chain_rule_of_one_point_is_the_belief_itself() -> None:
    tasks = Unseen(qs.tasks.GaussianProcess(), lambda _: (3, 1), 5, 0)
    learner = qs.CNP(width=8)
    assert chain_rule(learner, tasks, 2).mean == pytest.approx(measure(learner, tasks)["log_likelihood"].mean)


def test_what_has_a_chain_rule() -> None:
    assert has_chain_rule(qs.CNP()) and has_chain_rule(qs.TNP(head=qs.heads.MixtureHead(2)))
    own = (qs.NeuralProcess(), qs.NeuralProcess(paths="deterministic"), qs.BootstrappingNP(), qs.TNPND())
    for learner in (qs.CNP(head=qs.heads.LowRankHead(4)), *own):
        assert not has_chain_rule(learner)


def test_moments_are_those_of_a_normal_distribution() -> None:
    """Of a sawtooth: uniform on [0, 1], with mean 1/2 and variance 1/12."""
    found = moments(qs.tasks.Sawtooth())
    assert float(found.mean) == pytest.approx(0.5, abs=0.01) and float(found.variance) == pytest.approx(
        1 / 12, rel=0.02
    )
    y = torch.tensor([[[0.2, 1.0], [0.4, -1.0], [torch.nan, 9.0]]])
    query = Examples(y, y, torch.tensor([[True, True, False]]))
    normal = torch.distributions.Normal(torch.tensor([0.1, 0.2]), torch.tensor([1.0, 2.0]))
    given = Moments(normal.mean, normal.variance).log_likelihood(query)
    torch.testing.assert_close(given, normal.log_prob(y[:, :2]).sum(2).mean(1))


def test_units() -> None:
    """Tasks in units of 10: densities of two outputs fall by 2 log 10, squared errors are 100 times as large."""
    learner = qs.CNP(1, 2, width=8)
    family = qs.tasks.Pendulum(with_velocity=True)
    tasks = Unseen(qs.tasks.Rescaled(family, y_scale=10.0), lambda _: (3, 4), 8, 0)
    small = measure(learner, tasks, {"normal/log_likelihood": Moments(torch.zeros(2), torch.ones(2)).log_likelihood})
    plain = in_units(small, 10.0, 2)
    wide = Moments(torch.zeros(2), torch.full((2,), 100.0)).log_likelihood
    expected = measure(learner, tasks._replace(family=family), {"normal/log_likelihood": wide})
    assert plain["normal/log_likelihood"].mean == pytest.approx(expected["normal/log_likelihood"].mean, rel=1e-5)
    assert plain["mse"].mean == pytest.approx(100 * small["mse"].mean)
    assert plain["coverage90"].mean == small["coverage90"].mean
    assert plain["joint_log_likelihood"].mean == pytest.approx(
        small["joint_log_likelihood"].mean - 2 * math.log(10), rel=1e-6
    )


def test_the_chain_rule_may_see_more_points_than_training() -> None:
    """Tests treat the warning about large support sets as an error."""
    learner = qs.CNP(width=8)
    learner.experience.observe(qs.tasks.GaussianProcess().sample(200, support=1, query=9))
    with pytest.warns(RuntimeWarning, match=r"a task has 5 support points"):
        measure(learner, Unseen(qs.tasks.GaussianProcess(), lambda _: (5, 1), 3, 0))
    other = qs.CNP(width=8)
    other.experience.observe(qs.tasks.GaussianProcess().sample(200, support=1, query=9))
    assert chain_rule(other, Unseen(qs.tasks.GaussianProcess(), lambda _: (1, 8), 3, 0), 2).n == 3
