"""gymnasium's environments behind the contract, and everything that can go wrong in them."""

import gc
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Space
from torch import Tensor

import quickstudy as qs
from quickstudy.rl import CartPole, EnvironmentFailure, from_gymnasium


class Fragile(gymnasium.Env[Any, Any]):
    """Counts its steps, and fails as told by its task: at step `when`, in the way of `how`."""

    def __init__(self, action: Space[Any] | None = None, observation: Space[Any] | None = None):
        self.observation_space = observation or Box(-1.0, 9.0, (1,))
        self.action_space = action or Discrete(2)
        self.how, self.when, self.count, self.actions = 0.0, 0.0, 0, []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        if self.how == 4:
            raise OSError("no more memory")
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        self.actions.append(action)
        now = self.count == self.when
        if now and self.how == 1:
            raise ZeroDivisionError("the engine is gone")
        return (
            self._seen(np.nan if now and self.how == 2 else None),
            np.nan if now and self.how == 3 else 1.0,
            False,
            False,
            {},
        )

    def _seen(self, value: float | None = None) -> Any:
        if isinstance(self.observation_space, Box):
            return np.full(1, self.count if value is None else value, np.float32)
        return self.observation_space.sample()


def _set(env: Any, task: dict[str, Any]) -> None:
    env.how, env.when = task["how"], task["when"]
    if task["how"] == 5:
        env.observation_space = Box(-2.0, 2.0, (1,))
    if task["how"] == 6:
        raise KeyError("gravity")


def _draw(num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"how": torch.zeros(num_tasks), "when": torch.rand(num_tasks, generator=generator)}


def _fragile(how: float = 0.0, when: float = 3.0, **spaces: Any) -> Any:
    """Two tasks with two environments each; the second task fails."""
    env = from_gymnasium(lambda: Fragile(**spaces), _set, _draw, num_envs=2, horizon=5)
    env.set_tasks({"how": torch.tensor([0.0, how]), "when": torch.tensor([0.0, when])})
    return env


def _play(env: Any, steps: int = 5) -> list[Any]:
    env.reset(generator=torch.Generator().manual_seed(11))
    return [env.step(torch.ones(2, 2, dtype=torch.long)) for _ in range(steps)]


def test_it_equals_our_cartpole_on_the_same_tasks() -> None:
    """The same states, tasks and actions; gymnasium observes in float32."""
    torch.set_default_dtype(torch.float64)

    def set_task(env: Any, task: dict[str, Any]) -> None:
        pole = env.unwrapped
        for name, value in task.items():
            setattr(pole, name, value)
        pole.total_mass, pole.polemass_length = pole.masspole + pole.masscart, pole.masspole * pole.length

    ours = CartPole(num_envs=3, length=(0.3, 0.8))
    theirs = from_gymnasium(
        lambda: gymnasium.make("CartPole-v1"), set_task, lambda n, g: ours.sample_tasks(n, generator=g), num_envs=3
    )
    theirs.set_tasks(theirs.sample_tasks(4, generator=torch.Generator().manual_seed(0)))
    assert all(
        torch.equal(v, theirs.tasks[k])
        for k, v in ours.sample_tasks(4, generator=torch.Generator().manual_seed(0)).items()
    )
    state, _ = theirs.reset(generator=torch.Generator().manual_seed(1))
    running = torch.ones(4, 3, dtype=torch.bool)
    for _ in range(40):
        action = torch.randint(2, (4, 3))
        expected, _, ended = ours.dynamics(theirs.tasks, state, action)
        step = theirs.step(action)
        torch.testing.assert_close(step.observation[running], expected[running], rtol=1e-5, atol=1e-6)
        assert torch.equal(step.terminated[running], ended[running])
        running, state = ~step.terminated, step.observation
    assert not bool(running.all())
    assert theirs.horizon == 500
    theirs.close()


def test_seeds_come_from_the_generator() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(gymnasium.make("CartPole-v1"))
        return made[-1]

    env = from_gymnasium(make, lambda env, task: None, _draw, num_envs=2)
    env.set_tasks(env.sample_tasks(2))
    env.reset(generator=torch.Generator().manual_seed(0))
    seeds = [e.unwrapped.np_random_seed for e in made]
    assert len(set(seeds)) == len(made) == 4
    env.reset(torch.tensor([[True, False], [False, False]]))
    later = [e.unwrapped.np_random_seed for e in made]
    assert later[0] != seeds[0] and later[1:] == seeds[1:]
    env.reset(generator=torch.Generator().manual_seed(0))
    assert [e.unwrapped.np_random_seed for e in made] == seeds


def test_ended_episodes_are_not_stepped() -> None:
    env = from_gymnasium(
        lambda: gymnasium.wrappers.TimeLimit(Fragile(), 3), lambda e, t: None, _draw, num_envs=1, horizon=9
    )
    env.set_tasks(env.sample_tasks(2))
    env.reset()
    steps = [env.step(torch.zeros(2, 1, dtype=torch.long)) for _ in range(5)]
    assert [s.truncated.all().item() for s in steps] == [False, False, True, True, True]
    assert [s.observation[0, 0].item() for s in steps] == [1, 2, 3, 3, 3]


def test_actions_fit_the_space() -> None:
    env = _fragile(action=Box(np.array([-1.0, 0.0]), np.array([1.0, 2.0]), dtype=np.float64))
    env.reset()
    env.step(torch.tensor([[[-5.0, 5.0], [0.5, 0.5]]] * 2))
    assert [e.actions[0].tolist() for e in env._envs[:2]] == [[-1, 2], [0.5, 0.5]]
    env = _fragile(action=Discrete(3, start=-1))
    env.reset()
    env.step(torch.tensor([[0, 2], [1, 1]]))
    assert [int(e.actions[0]) for e in env._envs] == [-1, 1, 0, 0] and env.action_space == Discrete(3)


def test_observations_are_flattened() -> None:
    env = _fragile(observation=Dict({"a": Discrete(3), "b": Box(0.0, 1.0, (2,))}))
    assert env.observation_space.shape == (5,)
    observation, _ = env.reset()
    assert observation.shape == (2, 2, 5) and bool((observation[..., :3].sum(-1) == 1).all())


@pytest.mark.parametrize(
    ("how", "what", "cause"),
    [
        (1.0, r"step 3, seed \d+: step\(1\) failed: ZeroDivisionError\('the engine is gone'\)", ZeroDivisionError),
        (2.0, r"step 3, seed \d+: the observation is \[nan\]; look at its task {'how': 2.0, 'when': 3.0}", None),
        (3.0, r"step 3, seed \d+: the reward of action 1 is NaN", None),
        (4.0, r"step 0, seed \d+: reset failed: OSError\('no more memory'\)", OSError),
        (5.0, r"its spaces are Box\(-2.* under {.*, and Box\(-1.*; all tasks must share them", None),
        (6.0, r"set_task failed on {'how': 6.0, 'when': 3.0}: KeyError\('gravity'\)", KeyError),
    ],
    ids=["dies", "sees NaN", "pays NaN", "cannot begin", "changes its spaces", "has no such task"],
)
def test_a_failure_says_where(how: float, what: str, cause: Any) -> None:
    with pytest.raises(EnvironmentFailure, match=f"^Fragile, task 1, environment 0.*{what}") as caught:
        _play(_fragile(how))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None if cause is None else isinstance(caught.value.__cause__, cause)


class Answers(Fragile):
    """Answers by given functions of what would be right; the second task's third step is wrong."""

    step_of: Any = staticmethod(lambda answer: answer)
    reset_of: Any = staticmethod(lambda answer: answer)

    def reset(self, **options: Any) -> Any:
        answer = super().reset(**options)
        return self.reset_of(answer) if self.how else answer

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        return self.step_of(answer) if self.how and self.count == 3 else answer


def _answering(**answers: Any) -> Any:
    kind = type("Answers", (Answers,), {name: staticmethod(answer) for name, answer in answers.items()})
    wide = Box(-1.0, 9.0, (1,))
    env = from_gymnasium(
        lambda: kind(observation=wide), lambda e, t: setattr(e, "how", t["how"]), _draw, num_envs=2, horizon=5
    )
    env.set_tasks({"how": torch.tensor([0.0, 9.0])})
    return env


@pytest.mark.parametrize(
    ("step_of", "what"),
    [
        (lambda a: a[:4], r"step returned a tuple of 4; expected \(observation, reward, terminated"),
        (lambda a: list(a), "step returned a list"),
        (lambda a: (*a[:4], None), "step's info is a NoneType"),
        (lambda a: (np.float32(2.0), *a[1:]), r"the observation is float32 of shape \[\]; expected numbers \[1\]"),
        (lambda a: (np.ones((1, 1)), *a[1:]), r"the observation is float64 of shape \[1, 1\]"),
        (lambda a: (np.array(["left"]), *a[1:]), r"the observation is <U4 of shape \[1\]; expected numbers"),
        (lambda a: (None, *a[1:]), "the observation is object of shape"),
        (lambda a: (np.array([np.inf]), *a[1:]), r"the observation is \[inf\]; look at its task"),
        (lambda a: (a[0], np.inf, *a[2:]), "the reward of action 1 is inf"),
        (lambda a: (a[0], np.ones(2), *a[2:]), r"reward of action 1 is array\(\[1., 1.\]\); expected a number"),
        (lambda a: (a[0], None, *a[2:]), "reward of action 1 is None; expected a number"),
        (lambda a: (a[0], a[1], "no", *a[3:]), "terminated of action 1 is 'no'; expected True or False"),
        (lambda a: (a[0], a[1], a[2], np.zeros(3), a[4]), "truncated of action 1 is array"),
    ],
)
def test_a_wrong_answer_says_where(step_of: Any, what: str) -> None:
    with pytest.raises(EnvironmentFailure, match=rf"^Answers, task 1, environment 0, step 3, seed \d+: {what}"):
        _play(_answering(step_of=step_of))


@pytest.mark.parametrize(
    ("reset_of", "what"),
    [
        (lambda a: a[0], "reset returned a ndarray; expected .observation, info."),
        (lambda a: (a[0], 1), "reset's info is a int; expected a dictionary"),
        (lambda a: (a[0][0], {}), r"the observation is float32 of shape \[\]"),
    ],
)
def test_a_wrong_reset_says_where(reset_of: Any, what: str) -> None:
    with pytest.raises(EnvironmentFailure, match=rf"^Answers, task 1, environment 0, step 0, seed \d+: {what}"):
        _play(_answering(reset_of=reset_of))


def test_info_is_kept_in_episodes() -> None:
    """Success at any step; numbers that only some steps tell are NaN elsewhere, and what is no number is left out."""

    def step_of(answer: Any) -> Any:
        return (*answer[:4], {"success": True, "distance": np.float32(0.5), "word": "done", "path": [1, 2]})

    env = _answering(step_of=step_of)
    policy = qs.rl.CategoricalPolicy(qs.nets.MLP(1, [4], 2))
    found = qs.rl.rollout(env, policy, generator=torch.Generator().manual_seed(0))
    assert set(found.info) == {"success", "distance"} and found.info["success"].shape == found.mask.shape
    assert found.ever("success").tolist() == [[False, False], [True, True]]
    assert found.info["distance"][1, 0, 2] == 0.5 and bool(found.info["distance"][0, 0, 2].isnan())
    with pytest.raises(KeyError, match="no info 'reached', only success, distance"):
        found.ever("reached")


def test_environments_are_closed_at_the_end() -> None:
    closed = []

    class Closes(Fragile):
        def close(self) -> None:
            closed.append(self)

    def make() -> Any:
        return from_gymnasium(Closes, _set, _draw, num_envs=2, horizon=5)

    with make() as env:
        env.set_tasks(env.sample_tasks(2))
    assert len(closed) == 4
    del env
    env = make()
    env.set_tasks(env.sample_tasks(2))
    del env
    gc.collect()
    assert len(closed) == 8


def test_a_failure_can_be_run_again_alone() -> None:
    """By the seed in the message."""
    env = _fragile(2.0)
    with pytest.raises(EnvironmentFailure) as caught:
        _play(env)
    seed = int(str(caught.value).split("seed ")[1].split(":")[0])
    assert env._envs[2].np_random_seed == seed


def test_tasks_that_failed_are_not_half_set() -> None:
    env = _fragile()
    _play(env)
    with pytest.raises(EnvironmentFailure, match="set_task failed"):
        env.set_tasks({"how": torch.tensor([0.0, 6.0]), "when": torch.zeros(2)})
    with pytest.raises(RuntimeError, match="reset before set_tasks"):
        env.reset()
    env.set_tasks(env.sample_tasks(2))
    assert len(_play(env)) == 5


def test_an_action_that_is_nan_says_where() -> None:
    env = _fragile(action=Box(-1.0, 1.0, (2,)))
    env.reset(generator=torch.Generator().manual_seed(11))
    action = torch.zeros(2, 2, 2)
    env.step(action)
    action[1, 0, 1] = torch.nan
    with pytest.raises(EnvironmentFailure, match=r"Fragile, task 1, environment 0, step 1, seed \d+: the action is"):
        env.step(action)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Fragile has no max_episode_steps in gymnasium; give horizon"):
        from_gymnasium(Fragile, _set, _draw)
    with pytest.raises(ValueError, match="Fragile has actions in MultiBinary"):
        _fragile(action=MultiBinary(2))
    with pytest.raises(ValueError, match="which cannot be flattened"):
        _fragile(observation=gymnasium.spaces.Sequence(Discrete(2)))
