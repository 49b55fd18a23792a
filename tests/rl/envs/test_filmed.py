"""Films: a picture of the start, of steps and of the end of every episode in one place, and nothing else changes."""

import numpy as np
import pytest
import torch

from quickstudy.rl import Informed, Navigation2D, rollout
from quickstudy.rl.envs.filmed import Filmed
from quickstudy.rl.policy import GaussianPolicy


def ready(**options: object) -> Filmed:
    made = Filmed(Navigation2D(num_envs=3, horizon=7), **options)  # type: ignore[arg-type]
    made.set_tasks(made.sample_tasks(4, generator=torch.Generator().manual_seed(0)))
    return made


def to_the_goal(env: Filmed, task: int) -> torch.Tensor:
    """A move of 0.1 towards the goal of one task, in all of its environments."""
    here = torch.stack([env.environment._state[task]])[0]
    goal = env.environment.tasks["goal"][task]
    actions = torch.zeros(4, 3, 2)
    actions[task] = (goal - here) * 10
    return actions


def test_pictures_show_the_chosen_environment_at_the_chosen_steps() -> None:
    env, plain = ready(which=(2, 1), every=3), Navigation2D(num_envs=3, horizon=7)
    plain.set_tasks(env.sample_tasks(4, generator=torch.Generator().manual_seed(0)))
    action = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(2))
    expected = []
    env.reset(generator=torch.Generator().manual_seed(1))
    plain.reset(generator=torch.Generator().manual_seed(1))
    for step in range(8):
        if step in (0, 3, 6, 7):  # every third, and the end
            expected.append(plain.render(2, 1))
        env.step(action)
        plain.step(action)
    np.testing.assert_array_equal(env.films[0], np.stack(expected))


def test_a_film_ends_with_its_episode_and_another_begins_with_the_next() -> None:
    env = ready(which=(1, 0))
    env.reset(generator=torch.Generator().manual_seed(1))
    while not bool(env.step(to_the_goal(env, 1)).terminated[1, 0]):
        pass
    first = len(env.films[0])
    env.step(torch.zeros(4, 3, 2))
    others = torch.ones(4, 3, dtype=torch.bool)
    others[1, 0] = False
    env.reset(others)
    assert len(env.films) == 1 and len(env.films[0]) == first <= 7
    env.reset(~others)
    env.step(torch.ones(4, 3, 2))
    assert len(env.films[1]) == 2
    np.testing.assert_array_equal(env.films[1][0], env.films[0][0])


def test_only_the_episodes_asked_for_are_kept() -> None:
    env = ready(episodes=(0, 2))
    for _ in range(4):
        env.reset()
        env.step(torch.ones(4, 3, 2))
    assert set(env.films) == {0, 2}


def test_shrinking_takes_means() -> None:
    small, large = ready(shrink=7), ready()
    for env in (small, large):
        env.reset(generator=torch.Generator().manual_seed(1))
    picture = large.films[0][0]
    assert small.films[0].shape == (1, 42, 42, 3)
    np.testing.assert_allclose(small.films[0][0, 20, 21], picture[140:147, 147:154].mean((0, 1)), atol=0.5)


def test_filming_does_not_change_the_environment() -> None:
    import quickstudy as qs

    torch.manual_seed(0)
    policy = GaussianPolicy(qs.nets.MLP(4, [8], 2), 2)
    found = []
    for env in (ready(which=(3, 2)), ready().environment):
        told = Informed(env, ("goal",))
        told.set_tasks(told.sample_tasks(4, generator=torch.Generator().manual_seed(0)))
        found.append(rollout(told, policy, generator=torch.Generator().manual_seed(5))[:9])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_cannot_be_filmed_is_refused() -> None:
    with pytest.raises(TypeError, match="Informed has no render"):
        Filmed(Informed(Navigation2D(), ("goal",)))
    with pytest.raises(ValueError, match="every=0"):
        ready(every=0)
    with pytest.raises(ValueError, match=r"which=\(4, 0\): there are 4 tasks with 3 environments each"):
        ready(which=(4, 0)).reset()
