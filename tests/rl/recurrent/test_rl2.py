"""RL^2: its memory is the same in a rollout and in a batch, and it learns to use it."""

from typing import Any

import pytest
import torch
from rl.levers import levers
from rl.made import episodes as made_up
from torch import Tensor

import quickstudy as qs
from quickstudy.rl.envs.references.gridnavi import Tour, play
from quickstudy.rl.recurrent.memory import MemoryNetwork, Reading
from quickstudy.rl.recurrent.ppo import PPO
from quickstudy.rl.recurrent.rl2 import RL2

WORLDS: dict[str, Any] = {
    "bandit": lambda: qs.rl.Bandit(arms=3, num_envs=2, horizon=6),
    "cartpole, which ends early": lambda: qs.rl.CartPole(masspole=5.0, num_envs=3, horizon=40),
    "navigation": lambda: qs.rl.Navigation2D(num_envs=2, horizon=5),
    "grid": lambda: qs.rl.GridNavi(num_envs=2, horizon=5),
    "mdp": lambda: qs.rl.TabularMDP(num_envs=2, horizon=5),
}


def world(name: str, tasks: int = 3) -> Any:
    env = WORLDS[name]()
    env.set_tasks(env.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return env


def learner(env: Any, **options: Any) -> RL2:
    torch.manual_seed(0)
    found = RL2.of(env, **{"width": 8, **options})
    with torch.no_grad():  # so that actions depend on the memory
        for parameter in found.policy.parameters():
            parameter.mul_(200)
    return found


@pytest.mark.parametrize("kind", ["gru", "transformer"])
@pytest.mark.parametrize("name", WORLDS)
def test_the_memory_is_the_same_in_a_batch_as_step_by_step(name: str, kind: str) -> None:
    """The probabilities of the actions that were taken, over two episodes that may end early."""
    env = world(name)
    made = learner(env, kind=kind)
    practice = made.practise(env, generator=torch.Generator().manual_seed(1))
    reading = made.memory.reading(list(practice.episodes), made.memory.initial(3 * env.num_envs))
    again = made.policy.log_prob(made.policy(made._features(reading)), reading.action)
    torch.testing.assert_close(torch.where(reading.mask, again, 0.0), reading.log_prob)
    assert int(reading.mask.sum()) == sum(int(e.mask.sum()) for e in practice.episodes)
    first = made.actor().rollout(env, generator=torch.Generator().manual_seed(2))
    forgetful = made.actor().rollout(env, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(first.log_prob, forgetful.log_prob)  # without `adapt` nothing is remembered


def test_the_memory_after_two_episodes_is_that_of_one_stream() -> None:
    env = world("cartpole, which ends early")
    made = learner(env)
    one, two = made.practise(env, generator=torch.Generator().manual_seed(1)).episodes
    assert not bool(one.mask.all())  # some end early
    actor = made.actor().adapt(one).adapt(two)
    start = made.memory.initial(9)
    whole = made.memory.after(made.memory.reading([one, two], start), start)
    for found, wanted in zip(actor.memory or (), whole, strict=True):
        torch.testing.assert_close(found, wanted)
    plain = start
    for t, e in ((0, 0), (2, 1)):  # by hand, step after step
        row = t * 3 + e
        plain = made.memory.initial(1)
        for episode in (one, two):
            for h in range(int(episode.mask[t, e].sum())):
                _, plain = made.memory.step(episode.observation[t, e, h][None], torch.tensor([h == 0]), plain)
                plain = made.memory.told(plain, episode.action[t, e, h][None], episode.reward[t, e, h][None])
        torch.testing.assert_close(plain.hidden[0], whole.hidden[row])
        torch.testing.assert_close(plain.action[0], whole.action[row])
        torch.testing.assert_close(plain.reward[0], whole.reward[row])


def test_streams_do_not_mix() -> None:
    env = world("bandit")
    made = learner(env)
    episodes = made.actor().rollout(env, generator=torch.Generator().manual_seed(0))
    other = episodes._replace(reward=episodes.reward.clone())
    other.reward[1, 0] = 1 - other.reward[1, 0]
    one, two = (made.actor().adapt(e)(torch.ones(3, 2, 1)) for e in (episodes, other))
    same = torch.ones(3, 2, dtype=torch.bool)
    same[1, 0] = False
    assert torch.equal(one[same], two[same]) and not torch.allclose(one[1, 0], two[1, 0])


@pytest.mark.parametrize(("kind", "lr"), [("gru", 1e-2), ("transformer", 3e-3)])
def test_it_learns_to_try_and_to_stay(kind: Any, lr: float) -> None:
    """One of two arms always pays: chance has 10 of 20, and who remembers has 19.5."""
    env = qs.rl.Bandit(arms=2, num_envs=1, horizon=20)
    torch.manual_seed(0)
    made = RL2.of(env, width=16, kind=kind, episodes=1, outer_lr=lr, discount=0.9)
    returns = []
    for step in range(25):
        chance = torch.Generator().manual_seed(step)
        good = torch.randint(2, (100,), generator=chance)
        env.set_tasks({"probability": torch.nn.functional.one_hot(good, 2).float()})
        returns.append(made.update(env, generator=chance)["return_0"])
    assert returns[0] < 11 and sum(returns[-3:]) / 3 > 17


def test_it_explores_a_grid_and_goes_back_to_the_goal() -> None:
    """From the second episode on, it earns what no policy can that forgets between episodes.

    On a grid of 3x3 with 6 steps an optimal first episode has 2.70 and each later one 4.02, 14.76 in all four.
    """
    env = qs.rl.GridNavi(cells=3, num_envs=6, horizon=6)
    env.set_tasks({"goal": env.goals})
    best = play(Tour.optimal(env), env, 4).mean((0, 1))
    torch.testing.assert_close(best, torch.tensor([2.7, 4.02, 4.02, 4.02]))
    torch.manual_seed(0)
    made = RL2.of(env, width=32, episodes=4, outer_lr=1e-2, discount=0.95)
    metrics = [made.update(env, generator=torch.Generator().manual_seed(step)) for step in range(25)]
    first, last = ([m[f"return_{k}"] for k in range(4)] for m in (metrics[0], metrics[-1]))
    assert sum(first) < 1 and sum(last) > 12
    assert min(last[1:]) > float(best[0]) + 0.3


def test_practice_and_metrics() -> None:
    env = world("navigation")
    made = learner(env, episodes=3)
    metrics = made.update(env, generator=torch.Generator().manual_seed(0))
    assert {"return_0", "return_1", "return_2"} <= metrics.keys() and metrics["loss"] == -metrics["return_2"]
    assert metrics["transitions"] <= 3 * 2 * 3 * 5


def test_equal_generators_give_equal_updates() -> None:
    results = []
    for _ in range(2):
        env = world("mdp")
        made = learner(env)
        made.update(env, generator=torch.Generator().manual_seed(3))
        results.append([p.detach().clone() for p in made.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"episodes": 0}, "episodes=0"),
        ({"discount": 1.5}, "discount=1.5; expected a number from 0 to 1"),
        ({"clip": 0.0}, "clip=0.0"),
        ({"minibatches": 0}, "minibatches=0"),
        ({"width": 0}, "width=0|outputs|0"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RL2.of(world("bandit"), **{"width": 8, **options})


def test_messages() -> None:
    env = world("bandit")
    actor = learner(env).actor()
    actor = actor.adapt(actor.rollout(env))
    other = world("bandit", tasks=5)
    with pytest.raises(
        ValueError,
        match="remembers 3 tasks with 2 environments of each, and is given 5 tasks with 2 environments of each",
    ):
        actor.rollout(other)
    with pytest.raises(ValueError, match="observations have 4 components, and the memory was built for 1; give"):
        learner(env).actor().rollout(world("cartpole, which ends early"))


def test_padding_is_not_read() -> None:
    """Values in masked steps change nothing."""
    episodes, memory = made_up(), MemoryNetwork(observations=2, actions=2, discrete=False, width=4)
    nowhere = ~episodes.mask

    def filled(part: Tensor) -> Tensor:
        return torch.where(nowhere.reshape(*nowhere.shape, *[1] * (part.dim() - 3)), 7.0, part)

    other = episodes._replace(
        observation=filled(episodes.observation), action=filled(episodes.action), reward=filled(episodes.reward)
    )
    start = memory.initial(12)
    one, two = (memory.reading([e], start) for e in (episodes, other))
    for field in Reading._fields[:4]:
        a, b = (
            torch.where(one.mask.reshape(12, 12, *[1] * (v.dim() - 2)), v, 0)
            for v in (getattr(one, field), getattr(two, field))
        )
        torch.testing.assert_close(a, b)
    for a, b in zip(memory.after(one, start), memory.after(two, start), strict=True):
        torch.testing.assert_close(a, b)


def test_discount_grows_and_entropy_falls_while_it_is_annealed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over four updates, also across a save."""
    env, used = world("bandit"), list[tuple[float, float]]()
    improve = PPO.improve

    def watched(self: PPO, *arguments: Any, **options: Any) -> dict[str, float]:
        used.append((self.discount, self.entropy))
        return improve(self, *arguments, **options)

    monkeypatch.setattr(PPO, "improve", watched)
    made = learner(env, episodes=1, discount=0.8, entropy=0.2, anneal=4)
    for _ in range(2):
        made.update(env)
    qs.save(made, tmp_path / "learner")
    made = qs.load(tmp_path / "learner")
    for _ in range(4):
        made.update(env)
    expected = [(0.0, 0.2), (0.2, 0.15), (0.4, 0.1), (0.6, 0.05), (0.8, 0.0), (0.8, 0.0)]
    assert [pair[0] for pair in used] == pytest.approx([pair[0] for pair in expected])
    assert [pair[1] for pair in used] == pytest.approx([pair[1] for pair in expected])
    used.clear()
    learner(env, episodes=1, discount=0.8, entropy=0.2).update(env)
    assert used == [(0.8, 0.2)]


def test_memories_are_not_dealt_to_other_tasks() -> None:
    """Three tasks of two environments are not two tasks of three."""
    env, other = qs.rl.Bandit(arms=3, num_envs=2, horizon=6), qs.rl.Bandit(arms=3, num_envs=3, horizon=6)
    env.set_tasks(env.sample_tasks(3))
    other.set_tasks(other.sample_tasks(2))
    actor = learner(env).actor()
    actor = actor.adapt(actor.rollout(env))
    with pytest.raises(ValueError, match="remembers 3 tasks with 2 environments of each, and is given 2 tasks with 3"):
        actor.rollout(other)


def test_actions_of_several_components_are_read_one_hot() -> None:
    env = levers()
    env.set_tasks(env.sample_tasks(2))
    made = qs.rl.RL2.of(env, width=8)
    choices = [int(number) for number in env.action_space.nvec]
    practice = made.practise(env, generator=torch.Generator().manual_seed(0))
    reading = made.memory.reading(list(practice.episodes), made.memory.initial(2 * env.num_envs))
    size = made.memory.observations
    first, second = reading.action[0, 0].tolist()
    read = reading.inputs[0, 1, size : size + sum(choices)].tolist()
    assert read == [float(i == first) for i in range(choices[0])] + [float(i == second) for i in range(choices[1])]
    with pytest.raises(ValueError, match=r"actions=4 with choices=\[2, 3\]; expected their sum, 5"):
        MemoryNetwork(observations=1, actions=4, choices=[2, 3])
