"""MAML with a trust region: what its step is made of, what it comes to without inner steps, and what an actor does."""

import pytest
import torch

import quickstudy as qs
from quickstudy.rl.decisions import decisions, outputs_at
from quickstudy.rl.estimation.estimators import InnerSurrogate
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.practice import each_chunk, practise
from quickstudy.rl.trust_region import trust_region_step


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def learner(**options):
    """Well damped, so that conjugate gradients do not blow rounding up."""
    torch.manual_seed(0)
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [6], 2, activation="tanh"), 2)
    return qs.rl.MAMLTRPO(policy, **{"lr": 0.2, "damping": 0.3, **options})


def navigation(tasks=5, envs=3, horizon=6, seed=0):
    environment = qs.rl.Navigation2D(num_envs=envs, horizon=horizon)
    environment.set_tasks(environment.sample_tasks(tasks, generator=torch.Generator().manual_seed(seed)))
    return environment


def practised(made, environment, steps):
    return practise(made.actor(), environment, steps, torch.Generator().manual_seed(3))


def weights(made):
    return torch.cat([p.detach().flatten() for p in made.parameters()])


@pytest.mark.parametrize("chunk", [1, 2, None, "auto"])
@pytest.mark.parametrize("estimator", ["maml", "lvc", "dice", "emaml"])
def test_chunks_change_nothing(chunk, estimator):
    found = []
    for size in (5, chunk):
        made = learner(estimator=estimator, chunk=size)
        step = made.step(practised(made, navigation(), 1))
        found.append((weights(made), step.kl, step.improvement))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-7)
    assert found[1][1:] == pytest.approx(found[0][1:], rel=1e-4, abs=1e-9)


def test_a_chunk_has_as_many_tasks_as_fit(monkeypatch):
    made = learner()
    practice, sizes = practised(made, navigation(), 1), []
    for transitions in (1, 18, 40, 10**6):  # a task has 3 episodes of 6 steps
        monkeypatch.setattr("quickstudy.rl.practice.TRANSITIONS", transitions)
        parts = each_chunk(made.inner, practice.stages, outputs_at, practice.after, "auto")
        sizes.append([len(part) for part in parts])
    assert sizes == [[1] * 5, [1] * 5, [2, 2, 1], [5]]


def test_the_step_is_that_of_a_second_backward_pass():
    """Its parts, put together by hand: the Hessian of the KL through the adaptation, in place of products of slopes."""
    made = learner()
    practice = practised(made, navigation(), 1)
    before, after = practice.decisions
    policy = learner().policy
    loop = qs.inner_loop(policy, objective=InnerSurrogate(policy), lr=0.2)

    def adapted():
        return loop(batch=lambda step, adapted: before, num_tasks=5)

    old = adapted()(after.observation.flatten(1, 2)).unflatten(1, (3, 6)).detach()
    expected = trust_region_step(
        policy.parameters(),
        lambda: adapted().evaluate(RatioSurrogate(policy), after).mean(),
        lambda: adapted().evaluate(MeanKL(policy), (after, old)).mean(),
        damping=0.3,
    )
    step = made.step(practice)
    assert step.accepted and expected.accepted
    torch.testing.assert_close(
        weights(made), torch.cat([p.detach().flatten() for p in policy.parameters()]), rtol=1e-4, atol=1e-6
    )
    assert step.kl == pytest.approx(expected.kl, rel=1e-3)


def test_an_inner_rate_of_0_is_trpo_on_the_same_episodes():
    still, plain = learner(lr=0.0), learner(steps=0)
    data = practised(still, navigation(), 1)
    still.step(data)
    plain.step(data._replace(episodes=data.episodes[1:], decisions=data.decisions[1:]))
    torch.testing.assert_close(weights(still), weights(plain), rtol=1e-5, atol=1e-8)


def test_the_kl_stays_within_its_bound():
    made, environment = learner(max_kl=1e-3), navigation(tasks=8)
    for seed in range(5):
        told = made.update(environment, generator=torch.Generator().manual_seed(seed))
        assert told["kl"] <= 1e-3 or not told["accepted"]
        assert {"return_0", "return_1", "loss", "transitions"} <= set(told)


def test_an_actor_takes_one_step_a_call_and_leaves_the_meta_parameters_alone():
    made, environment = learner(), navigation()
    began, chance = weights(made), torch.Generator().manual_seed(1)
    actor = made.actor(lr=[0.2, 0.1])
    first = actor.rollout(environment, generator=chance)
    one = actor.adapt(first)
    second = one.rollout(environment, generator=chance)
    two = one.adapt(second)
    assert torch.equal(weights(made), began)
    assert actor.adapted is None and len(two.stages) == 2
    x = torch.randn(5, 4, 2)
    loop = qs.inner_loop(made.policy, objective=InnerSurrogate(made.policy), lr=[0.2, 0.1])
    judged = [actor.judge(first), actor.judge(second)]
    expected = loop(batch=lambda step, adapted: judged[step], num_tasks=5, steps=2)(x)
    torch.testing.assert_close(two(x), expected)
    assert not torch.equal(one(x), two(x)) and actor(x).shape == two(x).shape


def test_the_scale_of_advantages_is_what_they_were_divided_by():
    environment, made = navigation(), learner()
    episodes = made.actor().rollout(environment, generator=torch.Generator().manual_seed(2))
    raw = decisions(episodes, made.judge.advantage(episodes)).advantage
    raw = torch.where(episodes.mask, raw - (raw.sum((1, 2)) / episodes.mask.sum((1, 2)))[:, None, None], 0)
    torch.testing.assert_close(raw / made.judge.scale(episodes)[:, None, None], made.judge(episodes).advantage)


def test_informed_environments_show_the_goal():
    told = qs.rl.Informed(qs.rl.Navigation2D(num_envs=2), ("goal",))
    tasks = told.sample_tasks(3, generator=torch.Generator().manual_seed(0))
    told.set_tasks(tasks)
    seen, _ = told.reset()
    assert torch.equal(seen[:, 1, 2:], tasks["goal"])
    assert torch.equal(told.step(torch.zeros(3, 2, 2)).observation[:, 0, 2:], tasks["goal"])
    with pytest.raises(ValueError, match="no 'mass', only goal"):
        qs.rl.Informed(qs.rl.Navigation2D(num_envs=2), ("mass",))
