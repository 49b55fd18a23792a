"""The example of continuous actions on the page about control, as a reader runs it."""

import re
from pathlib import Path

import pytest
import torch

from quickstudy.decide import Control, Known, Simulated, live
from quickstudy.rl.envs.from_gymnasium import GymnasiumEnvironment

PAGE = Path(__file__).parents[2] / "docs/control.md"
(EXAMPLE,) = [
    code for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S) if "upright" in code
]


def test_the_example_is_short() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line.split("#")[0].strip()]
    assert len(lines) <= 25


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a task has .* support points:RuntimeWarning")  # as the page says
def test_the_example_comes_within_a_tenth_of_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In gymnasium's own pendulums, in the third episode, from the same starts as a plan by their true physics."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(EXAMPLE, str(PAGE), "exec"), names)
    real = names["real"]
    assert isinstance(real, GymnasiumEnvironment)
    known = Known(Simulated(names["simulated"], names["tasks"]))
    agent = Control(known, names["planner"], names["upright"], generator=torch.Generator().manual_seed(1))
    best = live(real, agent, episodes=3, generator=torch.Generator().manual_seed(0)).returns.mean(1)
    ours = names["life"].returns.mean(1)
    assert best[2] > -200 and ours[2] > 1.1 * best[2]
