"""The page: everything within it, nothing from elsewhere, whatever the names of the runs."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from quickstudy.report import figures, panels
from quickstudy.report.animation import animate
from quickstudy.report.html import write_report
from quickstudy.report.runs import read_run


class Page(HTMLParser):
    """Every attribute of a page, its text, and the tags left open."""

    def __init__(self, text: str):
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.text, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def make_run(folder: Path, error: float = 0.5, finished: bool = True) -> Path:
    """A run folder as a recipe leaves it."""
    folder.mkdir(parents=True)
    config = {
        "recipe": "sinusoid-maml",
        "seed": 3,
        "learner": {"class": "MAML"},
        "command": "quickstudy run sinusoid-maml",
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "loss": 1.0 / step, "validation_loss": 1.0, "seconds": 0.1 * step} for step in range(1, 6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 6, "lo')
    if finished:
        measured = {"mean": error, "ci95": 0.1, "n": 600, "over": "tasks"}
        metrics = {f"mse/k={k}/steps=1": measured for k in (5, 10)}
        result = {
            "recipe": "sinusoid-maml",
            "seed": 3,
            "steps": 5,
            "seconds": 12.3,
            "hardware": "2 cores",
            "commit": "abc",
        }
        (folder / "result.json").write_text(json.dumps(result | {"metrics": metrics}))
        picture = panels.side_by_side({"MAML": [panels.Panel([0, 1], truth=[0, 1])]})
        figures.save(picture, folder / "figures", "adaptation")
    return folder


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = write_report([run], tmp_path / "page" / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(images) == 2 and all(image.startswith("data:image/png;base64,iVBOR") for image in images)
    assert not [a for a in page.attributes if a[0] in ("script", "link", "iframe") or a[1] in ("href", "onload")]
    assert not re.search(r"https?://|url\(|@import", text)
    for fact in ("0.50 ± 0.10", "after 1 step", "K=5", "600 tasks", "2 cores", "abc", "12.3", "finn2017maml"):
        assert fact in page.text, fact


def test_animations_are_within_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    animate(run / "figures" / "life.gif", {"before": np.zeros((2, 20, 30, 3), np.uint8)})
    page = Page(write_report([run], tmp_path / "report.html").read_text())
    said = [value for tag, _, value in page.attributes if tag == "img"]
    place = said.index("life")
    assert said[place - 1] == "30" and said[place + 1].startswith("data:image/gif;base64,R0lGOD")


def test_comparing_runs(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name / "run", error) for name, error in (("a", 0.5), ("b", 2.0))]
    page = Page(write_report(runs, tmp_path / "report.html").read_text())
    assert "a/run, after 1 step" in page.text and "b/run, after 1 step" in page.text
    assert "in multiples of the best" in page.text and "x 4.00" in page.text
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert pictures[0] == "Comparison: mean squared error, with 95% intervals."
    assert (
        pictures[1:3] == ["Unseen tasks before and after gradient steps. Grey: the truth. Dots: the points seen."] * 2
    )


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<script>alert(1)<")
    assert "<script" not in write_report([run], tmp_path / "report.html").read_text()


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", finished=False)
    assert "the run is unfinished" in write_report([run], tmp_path / "report.html").read_text()
    assert [line["step"] for line in read_run(run).curves[""]] == [1, 2, 3, 4, 5]  # without the line cut short


def test_a_run_named_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="named twice"):
        write_report([run, run], tmp_path / "report.html")


@pytest.mark.parametrize(("name", "text"), [("config.json", "[1"), ("result.json", "{}}"), ("metrics.jsonl", "{]\n")])
def test_damaged_files(name: str, text: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read_run(run)
