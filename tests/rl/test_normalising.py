"""Running statistics that belong to a learner: those of all observations, in its checkpoint, still while acting."""

import gymnasium
import pytest
import torch
from rl import made

import quickstudy as qs
from quickstudy.inner.loop import InnerLoop
from quickstudy.rl.acting import _is_stackable
from quickstudy.rl.normalising import NormalizedObservations, RewardScale, observe_all


def test_statistics_are_those_of_all_observations_together():
    parts = [made.episodes(seed=seed) for seed in range(5)]
    parts = [p._replace(observation=3 * p.observation + 7) for p in parts]
    normal = NormalizedObservations(torch.nn.Identity(), 2, clip=100.0)
    assert torch.equal(normal(torch.full((1, 2), 5.0)), torch.full((1, 2), 5.0))  # before it has seen anything
    normal.observe(parts[:2])
    for part in parts[2:]:
        normal.observe([part])
    seen = torch.cat([p.observation[p.mask] for p in parts])
    torch.testing.assert_close(normal.mean, seen.mean(0))
    torch.testing.assert_close(normal.variance, seen.var(0, correction=0))
    assert int(normal.count) == len(seen)
    torch.testing.assert_close(normal(seen).mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal(seen).std(0, correction=0), torch.ones(2))


def test_means_far_from_zero_keep_their_variance():
    found = made.episodes(steps=200)
    normal = NormalizedObservations(torch.nn.Identity(), 2)
    for _ in range(3):
        normal.observe([found._replace(observation=found.observation + 1e4)])
    torch.testing.assert_close(normal.variance, found.observation[found.mask].var(0, correction=0), rtol=1e-2, atol=0)


def test_pictures_and_clipping():
    normal = NormalizedObservations(torch.nn.Flatten(), (2, 3), clip=1.0)
    assert normal(torch.full((4, 2, 3), 9.0)).tolist() == [[1.0] * 6] * 4


def test_rewards_are_divided_by_the_spread_of_discounted_returns():
    found, scale = made.episodes(steps=30), RewardScale(discount=0.9)
    gains = []
    for task, row, first, end in made.split(found):
        gain = 0.0
        for h in range(first, end):
            gain = 0.9 * gain + float(found.reward[task, row, h])
            gains.append(gain)
    scale.observe([found])
    torch.testing.assert_close(scale.variance, torch.tensor(gains).var(correction=0))
    torch.testing.assert_close(scale(found).reward, found.reward / scale.variance.sqrt())
    assert torch.equal(scale(found).mask, found.mask)


LEARNERS = {
    "trpo": lambda policy, judge: qs.rl.MAMLTRPO(policy, lr=0.1, judge=judge),
    "vpg": lambda policy, judge: qs.rl.MAMLVPG(policy, lr=0.1, estimator="emaml", judge=judge),
    "promp": lambda policy, judge: qs.rl.ProMP(policy, lr=0.1, outer_steps=2, judge=judge),
}


def learner(name="vpg"):
    torch.manual_seed(0)
    policy = qs.rl.GaussianPolicy(NormalizedObservations(qs.nets.MLP(2, [8], 2, activation="tanh"), 2), 2)
    return LEARNERS[name](policy, qs.rl.Judge(reward_scale=RewardScale(), standardise=False))


def board():
    return qs.rl.Navigation2D(num_envs=3, horizon=5)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_update_them_once_a_step_and_nobody_else_does(name):
    made_, env = learner(name), board()
    env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    normal, scale = made_.policy.network, made_.judge.reward_scale
    metrics = made_.update(env, generator=torch.Generator().manual_seed(1))
    assert int(normal.count) == int(scale.count) == metrics["transitions"] > 0
    before = {k: v.clone() for k, v in made_.state_dict().items()}
    actor = made_.actor()
    for _ in range(2):
        actor = actor.adapt(actor.rollout(env))
    assert all(torch.equal(v, before[k]) for k, v in made_.state_dict().items())
    assert _is_stackable(made_.policy)  # policies of all tasks act in one pass
    x = torch.randn(2, 4, 2)
    torch.testing.assert_close(actor(x), torch.stack([actor.adapted.module(i)(x[i]) for i in range(2)]).detach())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_resumed_and_a_loaded_learner_have_them(tmp_path, name):
    whole = learner(name)
    qs.rl.fit(whole, board(), steps=4, tasks=2, checkpoint_every=1, out=tmp_path / "whole")

    broken, calls = learner(name), []
    update = broken.update

    def stopping(environment, *, generator):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return update(environment, generator=generator)

    broken.update = stopping
    options = {"steps": 4, "tasks": 2, "checkpoint_every": 1, "out": tmp_path / "broken"}
    with pytest.raises(KeyboardInterrupt):
        qs.rl.fit(broken, board(), **options)
    again = learner(name)
    qs.rl.fit(again, board(), **options, exist="resume")
    loaded = qs.load(tmp_path / "whole", which="last")
    for k, v in whole.state_dict().items():
        assert torch.equal(again.state_dict()[k], v) and torch.equal(loaded.state_dict()[k], v)
    assert {"policy.network.mean", "judge.reward_scale.variance"} <= set(loaded.state_dict())


def test_a_fresh_environment_sees_what_training_saw():
    """Returns in the environment of training and in a new one are equal: nothing is learned outside of the learner."""

    def real():
        env = qs.rl.from_gymnasium(
            lambda: gymnasium.make("CartPole-v1"), lambda e, t: None, {"mass": torch.ones(3)}, num_envs=2, horizon=20
        )
        env.set_tasks({"mass": torch.ones(2)})
        return env

    policy = qs.rl.CategoricalPolicy(NormalizedObservations(qs.nets.MLP(4, [8], 2), 4))
    made_, env = qs.rl.MAMLVPG(policy, lr=0.1), real()
    for step in range(3):
        made_.update(env, generator=torch.Generator().manual_seed(step))
    found = [made_.actor().rollout(e, generator=torch.Generator().manual_seed(9)).returns() for e in (env, real())]
    assert torch.equal(*found)


def test_parts_of_ones_own_may_observe_too():
    class Counts(torch.nn.Linear):
        seen = 0

        def observe(self, episodes):
            self.seen += sum(int(e.mask.sum()) for e in episodes)

    network = Counts(2, 2)
    made_ = qs.rl.MAMLVPG(qs.rl.GaussianPolicy(network, 2), lr=0.1)
    assert any(isinstance(value, InnerLoop) for value in vars(made_).values())
    found = made.episodes()
    observe_all(made_, [found, found])
    assert network.seen == 2 * int(found.mask.sum())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="size=0"):
        NormalizedObservations(torch.nn.Identity(), 0)
    with pytest.raises(ValueError, match="clip"):
        NormalizedObservations(torch.nn.Identity(), 2, clip=0.0)
    with pytest.raises(ValueError, match="discount=1.5"):
        RewardScale(discount=1.5)
    with pytest.raises(ValueError, match=r"observations have shape \[2\], .* built for \[3\]; give size=\[2\]"):
        NormalizedObservations(torch.nn.Identity(), 3).observe([made.episodes()])
