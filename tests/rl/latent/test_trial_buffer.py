"""The buffer of trials against a list of them."""

from typing import Any

import pytest
import torch

from quickstudy.rl.latent.trial_buffer import TrialBuffer
from quickstudy.rl.recurrent.memory import Reading


def trials(first: int, count: int, steps: int = 2) -> Reading:
    number = torch.arange(first, first + count).float()[:, None].expand(-1, steps)
    vector = number.unsqueeze(2)
    return Reading(vector, number, number, vector, number, number >= 0, vector[:, 0], vector[:, 0])


def numbers(buffer: TrialBuffer) -> list[int]:
    return sorted(int(n) for n in buffer.trials().action[:, 0])


def test_the_oldest_trials_make_room() -> None:
    buffer, kept, first = TrialBuffer(7), list[int](), 0
    for count in (3, 3, 2, 1, 9, 4, 7):
        buffer.add(trials(first, count))
        kept, first = [*kept, *range(first, first + count)][-7:], first + count
        assert numbers(buffer) == kept and len(buffer) == len(kept)


def test_what_is_drawn_is_whole_and_even() -> None:
    buffer = TrialBuffer(4)
    buffer.add(trials(0, 4))
    drawn = buffer.draw(4000, generator=torch.Generator().manual_seed(0))
    assert all(
        torch.equal(part.reshape(4000, -1)[:, 0].float(), drawn.reward[:, 0])
        for part in drawn
        if part.dtype != torch.bool
    )
    shares = drawn.reward[:, 0].long().bincount(minlength=4) / 4000
    assert shares.min() > 0.22 and shares.max() < 0.28


def test_its_state_goes_on_at_the_same_place() -> None:
    one, two = TrialBuffer(5), TrialBuffer(5)
    one.add(trials(0, 4))
    one.add(trials(4, 4))
    two.load_state_dict(one.state_dict())
    for buffer in (one, two):
        buffer.add(trials(8, 2))
    assert torch.equal(one.trials().action, two.trials().action) and numbers(two) == [5, 6, 7, 8, 9]
    two.load_state_dict(TrialBuffer(5).state_dict())
    assert len(two) == 0


def test_messages() -> None:
    buffer = TrialBuffer(3)
    with pytest.raises(ValueError, match="has no trials; call learner.update first"):
        buffer.draw(1)
    buffer.add(trials(0, 2))
    with pytest.raises(
        ValueError, match=r"trials so far have inputs \[2, 1\], and these \[4, 1\]; a learner trains in"
    ):
        buffer.add(trials(0, 2, steps=4))
    good = buffer.get_extra_state()
    bad: list[tuple[Any, str]] = [
        (3, "not the state"),
        ({"next": 0}, "not the state"),
        ({**good, "kept": [1]}, "not the state"),
        ({**good, "kept": good["kept"][:3]}, "3 tensors"),
        ({**good, "next": 3}, "of 2 trials, and this buffer holds 3"),
        ({**good, "next": 0.0}, "of 2 trials, and this buffer holds 3"),
    ]
    for state, words in bad:
        with pytest.raises(ValueError, match=words):
            buffer.set_extra_state(state)
    with pytest.raises(ValueError, match="of 2 trials, and this buffer holds 1"):
        TrialBuffer(1).set_extra_state(good)
    assert numbers(buffer) == [0, 1]
