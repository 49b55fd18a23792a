"""Tuning how a learner adapts: each trial is what the learner itself would do, and the best one wins."""

import math

import pytest
import torch

import quickstudy as qs
from quickstudy.chance import Stream, mix

FAMILY = qs.tasks.Sinusoid()


def rival(**options):
    torch.manual_seed(0)
    return qs.Pretrained(qs.nets.MLP(1, [16], 1), **options)


@pytest.mark.parametrize("kind", [qs.Pretrained, qs.MAML])
def test_a_trial_is_what_the_learner_would_do(kind):
    torch.manual_seed(0)
    learner = kind(qs.nets.MLP(1, [16], 1), steps=1)
    rules = [qs.optimizers.SGD(0.01), qs.optimizers.Adam(0.1)]
    found = qs.tune_adaptation(learner, FAMILY, support=5, rules=rules, steps=(0, 2, 3), query=7, tasks=20, seed=3)
    chance = torch.Generator().manual_seed(mix(3, 0, Stream.VALIDATION))
    tasks = FAMILY.sample(20, support=5, query=7, split="validation", generator=chance)
    assert len(found.trials) == 6 and isinstance(found.learner, kind)
    for trial in found.trials:
        same = kind(learner.network, rule=trial.rule, steps=trial.steps)
        mean = same.adapt(tasks.support)(tasks.query.x).mean
        assert trial.loss == pytest.approx((mean - tasks.query.y).square().mean().item(), rel=1e-4)
    losses = [trial.loss for trial in found.trials]
    assert losses == sorted(losses)
    best = found.trials[0]
    assert found.learner.steps == best.steps and found.learner.rule is best.rule
    assert learner.steps == 1  # as it was


def test_what_diverges_comes_last():
    rules = [qs.optimizers.SGD(1e6), qs.optimizers.SGD(0.01)]
    found = qs.tune_adaptation(rival(), FAMILY, support=5, rules=rules, steps=(5, 20), tasks=4)
    assert found.trials[-1].loss == math.inf and found.learner.rule.lr == 0.01


def test_many_tasks_are_taken_some_at_a_time():
    few = [qs.optimizers.SGD(0.01)]
    found = qs.tune_adaptation(rival(), FAMILY, support=5, rules=few, steps=(1,), tasks=130)
    assert math.isfinite(found.trials[0].loss)


def test_a_likelihood_is_what_counts_where_there_is_one():
    noise = qs.likelihoods.Gaussian(0.3)
    found = qs.tune_adaptation(
        rival(likelihood=noise), FAMILY, support=5, rules=[qs.optimizers.SGD(1e-3)], steps=(1,), tasks=4
    )
    assert found.learner.likelihood is noise and found.trials[0].loss > 0


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(TypeError, match="CNP has no inner loop"):
        qs.tune_adaptation(qs.CNP(), FAMILY, support=5)
    with pytest.raises(ValueError, match="support=0"):
        qs.tune_adaptation(rival(), FAMILY, support=0)
    with pytest.raises(ValueError, match="steps=.. is empty; give at least one number"):
        qs.tune_adaptation(rival(), FAMILY, support=5, steps=())
    with pytest.raises(ValueError, match="every rule diverged"):
        qs.tune_adaptation(rival(), FAMILY, support=5, rules=[qs.optimizers.SGD(1e9)], steps=(20,), tasks=3)


def test_the_modes_of_the_network_are_left_alone():
    network = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    learner = qs.Pretrained(network)
    network[1].eval()
    qs.tune_adaptation(learner, FAMILY, support=5, rules=[qs.optimizers.SGD(0.01)], steps=(1,), tasks=2)
    assert [m.training for m in network] == [True, False, True]


@pytest.mark.parametrize(
    "make",
    [
        lambda net: qs.MAML(net, steps=3, checkpoint="sqrt", mixed_mode=True),
        lambda net: qs.MAML(net, engine="lowrank"),
        lambda net: qs.iMAML(net, lr=0.01),
        lambda net: qs.MetaSGD(net, truncate=1, steps=2),
    ],
)
def test_what_only_concerns_the_meta_gradient_does_not_stand_in_the_way(make):
    learner = make(qs.nets.MLP(1, [8], 1))
    found = qs.tune_adaptation(learner, qs.tasks.Sinusoid(), support=5, steps=(0, 2), tasks=5)
    assert len(found.trials) == 2 * 13 and any(trial.rule is learner.inner.rule for trial in found.trials)
    assert found.learner.inner.proximal == learner.inner.proximal
