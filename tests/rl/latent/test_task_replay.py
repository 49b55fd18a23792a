"""The buffers of a fixed set of tasks against lists."""

from typing import Any

import pytest
import torch
from rl.made import episodes as made_up

from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.task_replay import TaskReplay


def numbered(tasks: int, first: int, lengths: list[int], steps: int = 4) -> Episodes:
    """One episode of each task, whose rewards count from 100 t + first; those of padding are -1."""
    made = made_up(tasks, 1, steps)
    time = torch.arange(steps).expand(tasks, 1, -1)
    mask = time < torch.tensor(lengths)[:, None, None]
    reward = torch.where(mask, 100.0 * torch.arange(tasks)[:, None, None] + first + time, -1.0)
    vector = reward.unsqueeze(-1).expand(-1, -1, -1, 2)
    return made._replace(
        mask=mask, reward=reward, observation=vector, action=vector, next_observation=vector, terminated=reward % 2 == 0
    )


def drawn(replay: TaskReplay, row: int, latest: bool = False) -> list[int]:
    found = replay.draw(torch.tensor([row]), 400, generator=torch.Generator().manual_seed(0), latest=latest)
    for part in (found.observation[..., 0], found.action[..., 1], found.next_observation[..., 0]):
        assert torch.equal(part, found.reward)
    assert torch.equal(found.terminated, found.reward % 2 == 0)
    return sorted({int(reward) for reward in found.reward[0]})


def test_each_task_keeps_its_own_latest_transitions() -> None:
    replay, kept = TaskReplay(6), {0: list[int](), 1: list[int](), 2: list[int]()}
    replay.begin({"goal": torch.arange(3.0)})
    assert replay.some_tasks(torch.tensor([2, 0]))["goal"].tolist() == [2.0, 0.0]
    for visit, (rows, lengths) in enumerate([([0, 2], [4, 3]), ([2, 1], [2, 4]), ([0], [3]), ([0, 1], [2, 1])]):
        replay.add(torch.tensor(rows), [numbered(len(rows), 10 * visit, lengths)])
        for place, row in enumerate(rows):
            new = [100 * place + 10 * visit + k for k in range(lengths[place])]
            kept[row] = (kept[row] + new)[-6:]
            assert drawn(replay, row) == sorted(kept[row])
            assert drawn(replay, row, latest=True) == new


def test_a_visit_may_have_several_episodes_and_more_than_there_is_room_for() -> None:
    replay = TaskReplay(6)
    replay.begin({"goal": torch.arange(1.0)})
    replay.add(torch.tensor([0]), [numbered(1, 0, [4]), numbered(1, 10, [2]), numbered(1, 20, [4])])
    assert drawn(replay, 0) == [10, 11, 20, 21, 22, 23] == drawn(replay, 0, latest=True)


def test_its_state_goes_on_at_the_same_place() -> None:
    one, two = TaskReplay(6), TaskReplay(6)
    one.begin({"goal": torch.arange(2.0)})
    for first in (0, 10):
        one.add(torch.tensor([0, 1]), [numbered(2, first, [4, 3])])
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.tasks["goal"], one.tasks["goal"])
    for replay in (one, two):
        replay.add(torch.tensor([1]), [numbered(1, 30, [2])])
    for row in (0, 1):
        assert drawn(one, row) == drawn(two, row)
    two.load_state_dict(TaskReplay(6).state_dict())
    assert len(two) == 0


def test_messages() -> None:
    replay = TaskReplay(6)
    replay.begin({"goal": torch.arange(2.0)})
    replay.add(torch.tensor([0]), [numbered(1, 0, [4])])
    with pytest.raises(ValueError, match="a task has no transitions; call learner.update first"):
        replay.draw(torch.tensor([0, 1]), 3, generator=None)
    other = numbered(1, 0, [4])
    with pytest.raises(ValueError, match=r"so far have observation \[2\], and these \[1\]"):
        replay.add(torch.tensor([0]), [other._replace(observation=other.observation[..., :1])])
    good = replay.get_extra_state()
    bad: list[tuple[Any, str]] = [
        (None, "not the state of a TaskReplay"),
        ({**good, "tasks": [3]}, "not the state of a TaskReplay"),
        ({**good, "count": good["count"][:1]}, "expected tensors of equally many tasks"),
        ({**good, "kept": good["kept"][:2]}, "this replay holds 6"),
    ]
    for state, words in bad:
        with pytest.raises(ValueError, match=words):
            replay.set_extra_state(state)
    with pytest.raises(ValueError, match=r"it is of \[4\] transitions a task, and this replay holds 3"):
        TaskReplay(3).set_extra_state(good)


def test_a_state_does_not_change_while_it_is_kept() -> None:
    replay = TaskReplay(30)
    replay.begin({"goal": torch.zeros(2, 2)})
    replay.add(torch.arange(2), [made_up()])
    state = replay.state_dict()
    kept = {name: value.clone() for name, value in state["_extra_state"].items() if isinstance(value, torch.Tensor)}
    replay.add(torch.arange(2), [made_up()])
    assert set(kept) == {"count", "visit"}
    assert all(torch.equal(state["_extra_state"][name], value) for name, value in kept.items())
