"""All parts at once: policies that learn to adapt to a goal from episodes of their own."""

import pytest
from rl.worlds import Points

import quickstudy as qs
from quickstudy.rl.decisions import decisions, outputs_at
from quickstudy.rl.estimation.advantages import discounted_returns, gae, standardised
from quickstudy.rl.estimation.estimators import InnerSurrogate
from quickstudy.rl.estimation.linear_baseline import LinearBaseline
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.policy import GaussianPolicy
from quickstudy.rl.rollout import rollout
from quickstudy.rl.trust_region import trust_region_step


def judged(episodes):
    value = LinearBaseline().fit(episodes, discounted_returns(episodes))(episodes.observation, episodes.time)
    return decisions(episodes, standardised(gae(episodes, value), episodes.mask))


@pytest.mark.parametrize("estimator", ["maml", "lvc", "dice"])
def test_adaptation_is_learned_with_trust_regions(estimator, generator):
    environment = Points(num_envs=20, horizon=5, radius=0.1)
    policy = GaussianPolicy(qs.nets.MLP(2, [16], 2, activation="tanh"), 2, log_std=-0.7)
    loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator=estimator), lr=0.3)
    gains = []
    for _ in range(15):
        environment.set_tasks(environment.sample_tasks(10, generator=generator))
        before = rollout(environment, policy, generator=generator)
        data = judged(before)
        adapted = lambda: loop(batch=lambda step, adapted: data, num_tasks=10)  # noqa: E731
        now = adapted()
        after = rollout(environment, policy, adapted=now, generator=generator)
        later = judged(after)
        old = now.evaluate(lambda model, seen, outer: outputs_at(model, seen), later).detach()
        step = trust_region_step(
            policy.parameters(),
            lambda: adapted().evaluate(RatioSurrogate(policy), later).mean(),
            lambda: adapted().evaluate(MeanKL(policy), (later, old)).mean(),
            max_kl=0.02,
        )
        assert step.kl <= 0.02 or not step.accepted
        gains.append((after.returns().mean() - before.returns().mean()).item())
    assert sum(gains[-5:]) / 5 > sum(gains[:5]) / 5 + 0.1
