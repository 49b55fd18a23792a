"""Transitions of recorded episodes: those of the record, none of them twice, and of systems that are held out."""

from typing import Any

import pytest
import torch
from gymnasium.spaces import Discrete

import quickstudy as qs
from quickstudy.decide import Logged, Transitions
from quickstudy.testing import family_checks

WORLDS: dict[str, Any] = {
    "carts that fall": lambda: qs.rl.CartPole(masspole=(1.0, 5.0), num_envs=4, horizon=40),
    "points": lambda: qs.rl.Navigation2D(num_envs=3, horizon=30),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def record(name: str, systems: int = 10) -> tuple[Any, qs.rl.Episodes]:
    env = WORLDS[name]()
    env.set_tasks(env.sample_tasks(systems, generator=seeded()))
    torch.manual_seed(0)
    policy: Any = (
        qs.rl.CategoricalPolicy(qs.nets.MLP(4, [8], 2))
        if name.startswith("carts")
        else qs.rl.GaussianPolicy(qs.nets.MLP(2, [8], 2), 2)
    )
    return env, qs.rl.rollout(env, policy, generator=seeded(1))


@pytest.mark.parametrize("name", WORLDS)
def test_tasks_are_the_transitions_of_their_system(name: str) -> None:
    env, episodes = record(name)
    family = Transitions.from_episodes(episodes, env.action_space, reward=True)
    tasks = family.sample(9, support=5, query=12, generator=seeded(2))
    for t, system in enumerate(tasks.info["system"].tolist()):
        real = episodes.mask[system]
        taken = episodes.action.clamp(-1, 1)  # both environments' actions are within these bounds
        one = [part[system][real] for part in (episodes.observation, taken, episodes.next_observation)]
        whole = family.encoding.examples(*[part[None] for part in one], reward=episodes.reward[system][real][None])
        known = {tuple(row) for row in torch.cat([whole.x[0], whole.y[0]], 1).tolist()}
        found = torch.cat([torch.cat([part.x[t], part.y[t]], 1) for part in (tasks.support, tasks.query)])
        rows = [tuple(row) for row in found.tolist()]
        assert set(rows) <= known and len(set(rows)) == len(rows) == 17
        starts = {tuple(row) for row in whole.x[0].tolist()}
        assert tuple(tasks.support.x[t, 0].tolist()) in starts


def test_the_support_set_is_a_row_in_its_order() -> None:
    env, episodes = record("points")
    family = Logged(episodes, env.action_space)
    tasks = family.sample(20, support=6, query=3, generator=seeded())
    for t, system in enumerate(tasks.info["system"].tolist()):
        plain = family.encoding.examples(*(p[system, :, :6] for p in family._parts[:3]))
        assert any(torch.equal(tasks.support.x[t], row) for row in plain.x)
    assert len({tuple(task[0].tolist()) for task in tasks.support.x}) > 7  # rows differ between draws of a system


def test_systems_are_held_out_and_come_as_often_as_others() -> None:
    env, episodes = record("points")
    family = Logged(episodes, env.action_space)
    drawn = {
        split: family.sample(12, support=2, query=2, split=split, generator=seeded()).info["system"].tolist()
        for split in ("train", "validation", "test")
    }
    assert sorted(drawn["train"]) == sorted(2 * sorted(set(drawn["train"]))) and len(set(drawn["train"])) == 6
    sets = [set(places) for places in drawn.values()]
    assert set.union(*sets) == set(range(10)) and sum(map(len, sets)) == 10


def test_short_rows_are_completed_by_others_and_too_few_are_said() -> None:
    env, episodes = record("carts that fall")
    lengths = episodes.mask.sum(2)
    family = Logged(episodes, env.action_space)
    support = int(lengths.max()) + 1
    tasks = family.sample(7, support=support, query=2, generator=seeded())
    assert tasks.support.x.shape[1] == support
    many = int(lengths.sum(1).max()) + 1
    with pytest.raises(ValueError, match=rf"recorded transitions, and support and query need {many}"):
        family.sample(10, support=many - 4, query=4, generator=seeded())


def test_a_process_learns_from_the_record(tmp_path: Any) -> None:
    env, episodes = record("carts that fall", systems=20)
    family = Transitions.from_episodes(episodes, env.action_space)
    learner = qs.CNP(family.dx, family.dy, width=32)
    run = qs.fit(learner, family, steps=60, tasks=8, support=(0, 10), query=20, out=tmp_path / "run")
    before = qs.evaluate(qs.CNP(family.dx, family.dy, width=32), family, tasks=3, support=10, query=20)
    after = qs.evaluate(run.learner, family, tasks=3, support=10, query=20)
    assert after["log_likelihood/k=10"].mean > before["log_likelihood/k=10"].mean + 0.3


_env, _episodes = record("points")
CHECKS = {check.name: check for check in family_checks(lambda: Logged(_episodes, _env.action_space))}


@pytest.mark.parametrize("name", CHECKS)
def test_it_keeps_the_contract_of_families(name: str) -> None:
    CHECKS[name]()


def test_what_cannot_be() -> None:
    env, episodes = record("points")
    with pytest.raises(ValueError, match="2 tasks cannot fill 3 splits"):
        Logged(qs.rl.Episodes(*(part[:2] for part in episodes[:-1])), env.action_space)
    deep = episodes._replace(observation=episodes.observation.unsqueeze(-1))
    with pytest.raises(ValueError, match="expected vectors"):
        Logged(deep, env.action_space)
    with pytest.raises(ValueError, match="give the space of the environment in which they were recorded"):
        Logged(episodes, Discrete(2))
    cart, fallen = record("carts that fall")
    with pytest.raises(ValueError, match=r"actions go from 0 to 1, and action_space is Discrete\(1\)"):
        Logged(fallen, Discrete(1))
    assert Logged(fallen, cart.action_space).dx == 5


def test_actions_are_those_that_moved_the_system() -> None:
    """A pendulum's change of speed is linear in the clipped torque, with the slope 3 dt / (m l^2)."""
    torch.set_default_dtype(torch.float64)
    env = qs.rl.Pendulum(mass=0.8, length=1.1, num_envs=6, horizon=50)
    env.set_tasks(env.sample_tasks(4))
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(3, [4], 1), 1, log_std=1.5)
    episodes = qs.rl.rollout(env, policy, generator=seeded())
    assert float((episodes.action.abs() > 2).double().mean()) > 0.3
    family = Logged(episodes, env.action_space)
    tasks = family.sample(1, support=0, query=200, generator=seeded())
    x, y, encoding = tasks.query.x[0], tasks.query.y[0], family.encoding
    assert float(x[:, 3].abs().max()) == 1.0
    slow = (encoding.state_scale[2] * x[:, 2]).abs() < 5  # where the speed is not clipped
    change = encoding.change_scale[2] * y[slow, 2]
    found = torch.linalg.lstsq(torch.cat([encoding.state_scale * x[slow, :3], 2 * x[slow, 3:]], 1), change).solution
    assert float(found[3]) == pytest.approx(3 * 0.05 / (0.8 * 1.1**2), rel=1e-6)
