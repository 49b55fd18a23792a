"""The page on plotting: its first figure is right for runs with several parts, too."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

PAGE = Path(__file__).parents[2] / "docs/plotting.md"


def test_every_part_of_a_run_has_a_curve_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quickstudy import report

    [code] = [c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "report.frame" in c]
    run = tmp_path / "runs" / "sine"
    for place, loss in (("maml", 1.0), ("np", 2.0)):
        (run / place).mkdir(parents=True)
        lines = [{"step": step, "loss": loss} | ({"validation_loss": loss} if step == 2 else {}) for step in (1, 2, 3)]
        (run / place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    plt.close("all")
    exec(code, {"report": report})
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in plt.gca().lines}
    plt.close("all")
    assert drawn == {
        "maml training": ([1, 2, 3], [1.0] * 3),
        "maml validation": ([2], [1.0]),
        "np training": ([1, 2, 3], [2.0] * 3),
        "np validation": ([2], [2.0]),
    }
    assert (tmp_path / "training.png").exists()
