"""Answers about navigation, against the library's own actors and a closed form."""

import math
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.play import navigation
from quickstudy.play.message import Message, MessageError

GOAL = [0.31, -0.42]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return navigation.answers()


def ask(answers: dict[str, Any], name: str = "maml", **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = answers[f"navigation/{name}"](Message({"goal": GOAL, "episodes": 10, "seed": 3} | fields))
    return found


@pytest.mark.parametrize("name", sorted(navigation.WALKERS))
def test_paths_and_returns_are_those_of_the_actor(answers: dict[str, Any], name: str) -> None:
    ask(answers, name, goal=[-0.1, 0.2], seed=9)  # an earlier message leaves nothing behind
    stages = ask(answers, name)["stages"]
    board, chance = qs.rl.Navigation2D(num_envs=10), torch.Generator().manual_seed(3)
    board.set_tasks({"goal": torch.tensor([GOAL])})
    walker = navigation.WALKERS[name]
    actor = qs.load(walker.name).actor(lr=list(walker.rates))
    assert len(stages) == 4
    for k, stage in enumerate(stages):
        episodes = actor.rollout(board, generator=chance)
        actor = actor.adapt(episodes)
        assert stage["return"] == pytest.approx(float(episodes.returns().mean()), abs=1e-6), k
        reached = episodes.next_observation - torch.tensor(GOAL)
        assert stage["arrived"] == int(((reached.abs().amax(-1) < 0.01) & episodes.mask).any(2).sum())
        for which, path in enumerate(stage["paths"]):
            real = episodes.mask[0, which]
            assert path[0] == [0.0, 0.0]
            assert torch.allclose(torch.tensor(path[1:]), episodes.next_observation[0, which][real], atol=1e-6)


@pytest.mark.parametrize("goal", [[0.0, 0.0], [0.005, 0.0], [0.31, -0.42], [-0.7, 0.05], [0.1, 0.7], [0.205, 0.0]])
def test_the_best_is_the_sum_of_the_smallest_distances(goal: list[float]) -> None:
    total, h, left = 0.0, 0, (1.0, 1.0)
    while max(left) >= 0.01:  # as near in each coordinate as h moves of 0.1 can bring it
        h += 1
        left = max(0.0, abs(goal[0]) - 0.1 * h), max(0.0, abs(goal[1]) - 0.1 * h)
        total -= math.hypot(*left)
    best = navigation.straight(goal)
    assert best["return"] == pytest.approx(total, abs=1e-5)
    assert len(best["path"]) == h + 1


def test_no_policy_returns_more_than_the_best_and_a_step_of_maml_helps(answers: dict[str, Any]) -> None:
    for goal in ([0.4, 0.4], [-0.2, 0.45], [0.3, -0.1]):
        answer = ask(answers, goal=goal, episodes=20)
        returns = [stage["return"] for stage in answer["stages"]]
        assert max(returns) <= answer["best"]["return"]
        assert returns[1] > 0.6 * returns[0]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"goal": None}, "lacks 'goal'"),
        ({"goal": [0.1]}, "a list of 2 numbers"),
        ({"goal": [0.1, 0.71]}, "from -0.7 to 0.7"),
        ({"goal": [0.1, float("nan")]}, "expected a number"),
        ({"episodes": 4}, "from 5 to 80"),
        ({"episodes": 81}, "from 5 to 80"),
        ({"episodes": 20.5}, "a whole number"),
        ({"seed": -1}, "a whole number from 0"),
    ],
)
def test_a_message_beyond_its_bounds_is_refused(answers: dict[str, Any], fields: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        ask(answers, **fields)
