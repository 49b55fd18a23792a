"""Tasks of gymnasium environments: held-out ones are held out, and wrong numbers of tasks are refused."""

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.rl.envs.bridges.samplers import Sampler


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


GIVEN = {"goal": torch.arange(40.0).reshape(20, 2), "mass": torch.arange(20.0)}
AS_LIST = [{"goal": np.array([2.0 * i, 2.0 * i + 1]), "mass": float(i)} for i in range(20)]


@pytest.mark.parametrize("given", [GIVEN, AS_LIST], ids=["tensors", "dictionaries"])
def test_given_tasks_belong_to_one_split(given: Any) -> None:
    sampler = Sampler("Robot", given)
    seen = {s: set(sampler(60, s, seeded())["mass"].tolist()) for s in ("train", "validation", "test")}
    assert sorted(m for masses in seen.values() for m in masses) == list(range(20))
    assert {s: len(masses) for s, masses in seen.items()} == {"train": 14, "validation": 3, "test": 3}
    drawn = sampler(5, "train", seeded(1))
    assert torch.equal(drawn["goal"][:, 0], 2 * drawn["mass"]) and len(set(drawn["mass"].tolist())) == 5
    assert torch.equal(drawn["mass"], sampler(5, "train", seeded(1))["mass"])
    assert sorted(sampler(28, "train", seeded())["mass"].tolist()) == sorted([*seen["train"], *seen["train"]])


def test_a_function_may_take_the_split() -> None:
    asked = []

    def draw(num_tasks: int, generator: torch.Generator, split: str) -> Any:
        asked.append(split)
        return {"side": torch.ones(num_tasks)}

    sampler = Sampler("Robot", draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # two directions are all there are: the function knows what it does
        for split in ("train", "validation", "test"):
            sampler(2, split, seeded())  # type: ignore[arg-type]
    assert asked == ["train", "validation", "test"]


def numbers_of(values: Any) -> Any:
    return lambda num_tasks, generator: {"mass": values[torch.randint(len(values), (num_tasks,), generator=generator)]}


@pytest.mark.parametrize("values", [torch.tensor([-1.0, 1.0]), torch.arange(10), torch.randn(50, 3)], ids=len)
def test_a_function_that_draws_from_a_list_holds_nothing_out(values: Any) -> None:
    sampler = Sampler("Robot", numbers_of(values))
    sampler(5, "train", seeded())
    with pytest.warns(UserWarning, match=r"Robot: \d+ of 8 validation tasks are training tasks.*Give all the tasks as"):
        sampler(8, "validation", seeded(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler(8, "test", seeded(2))  # once is enough


def test_a_function_that_draws_numbers_holds_them_out() -> None:
    sampler = Sampler("Robot", lambda n, generator: {"mass": torch.rand(n, generator=generator)})
    sampler(8, "test", seeded())


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        (numbers_of(torch.randn(9)), None, ""),
        (
            lambda n, g: {"mass": torch.ones(n - 1)},
            ValueError,
            r"sample_tasks\(4, generator\) returned mass of shape \[3\]; ",
        ),
        (lambda n, g: {"mass": torch.ones(())}, ValueError, r"returned mass of shape \[\]; expected \[4, ...\]"),
        (
            lambda n, g: [{"mass": 1.0}] * n,
            ValueError,
            "sample_tasks returned a list; expected a dictionary of tensors",
        ),
        (lambda n, g: {"mass": np.ones(n)}, ValueError, "sample_tasks returned a dict"),
        ("masses", TypeError, "sample_tasks is a str"),
        (None, TypeError, "sample_tasks is a NoneType; expected a function"),
        ({"mass": [1.0, 2.0, 3.0]}, TypeError, "sample_tasks is a dict"),
        ({"mass": torch.ones(4), "goal": torch.ones(5, 2)}, ValueError, r"tensors of \[4, 5\] tasks"),
        ({"mass": torch.ones(2)}, ValueError, "2 tasks cannot fill 3 splits"),
    ],
)
def test_other_tasks_than_asked_for_are_refused(given: Any, kind: Any, says: str) -> None:
    if kind is None:
        assert len(Sampler("Robot", given)(4, "train", seeded())["mass"]) == 4
        return
    with pytest.raises(kind, match=says):
        Sampler("Robot", given)(4, "train", seeded())


def test_training_never_sees_the_tasks_of_validation() -> None:
    """In a run: what `rl.fit` validates on was given, and never trained on."""
    seen: list[set[float]] = []

    def set_task(env: Any, task: Any) -> None:
        env.unwrapped.masspole = task["mass"]

    real = qs.rl.from_gymnasium(
        lambda: gymnasium.make("CartPole-v1"), set_task, {"mass": torch.arange(1.0, 9.0)}, num_envs=1, horizon=4
    )
    own = real.set_tasks
    real.set_tasks = lambda tasks: (seen.append(set(tasks["mass"].tolist())), own(tasks))[1]  # type: ignore[method-assign]
    learner = qs.rl.MAMLVPG(qs.rl.CategoricalPolicy(qs.nets.MLP(4, [4], 2)), lr=0.1)
    with pytest.warns(UserWarning, match="kept in memory"):
        qs.rl.fit(learner, real, steps=4, tasks=3)
    *training, validation = seen
    assert len(set.union(*training)) > 3 and not set.union(*training) & validation
