"""The page: everything within it, nothing from elsewhere, whatever the names of the runs."""

import functools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from quickstudy.report import figures, panels
from quickstudy.report.animation import animate
from quickstudy.report.comparison import comparison
from quickstudy.report.html import write_report
from quickstudy.report.palette import COLOURS
from quickstudy.report.runs import read_run

pytestmark = pytest.mark.usefixtures("quick_figures")


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
        (folder / "figures").mkdir()
        (folder / "figures" / "adaptation.png").write_bytes(picture())
    return folder


@functools.cache
def picture() -> bytes:
    """A PNG as recipes save it."""
    return figures.to_png(panels.side_by_side({"MAML": [panels.Panel([0, 1], truth=[0, 1])]}))


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = write_report([run], tmp_path / "page" / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(images) == 2 and all(image.startswith("data:image/png;base64,iVBOR") for image in images)
    assert not [a for a in page.attributes if a[0] in ("script", "link", "iframe") or a[1] in ("href", "onload")]
    assert not re.search(r"https?://|url\(|@import", text)
    for fact in (
        "0.50 ± 0.10",
        "after 1 step",
        "K=5",
        "Means over 600 unseen tasks.",
        "2 cores",
        "abc",
        "12.3",
        "finn2017maml",
    ):
        assert fact in page.text, fact


@pytest.mark.parametrize("tested", [False, True])
def test_tasks_that_choose_the_best_weights_are_not_called_unseen(tmp_path: Path, tested: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"learner": {"class": "MAML"}}))
    metrics = {"validation_loss": {"mean": 0.5, "ci95": 0.1, "n": 100, "over": "tasks"}}
    metrics |= {"mse/k=5": {"mean": 0.7, "ci95": 0.1, "n": 600, "over": "tasks"}} if tested else {}
    (tmp_path / "result.json").write_text(json.dumps({"metrics": metrics}))
    text = Page(write_report([tmp_path], tmp_path / "report.html").read_text()).text
    assert f"Means over {'600 unseen' if tested else '100 validation'} tasks." in text
    assert "Validation loss: on validation tasks, which also choose the best weights, and not on unseen tasks." in text
    assert text.count("unseen") == 1 + tested


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
    assert "in multiples of the least" in page.text and "x 4.00" in page.text
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert pictures[0] == "Comparison: mean squared error, with 95% intervals."
    assert (
        pictures[1:3]
        == ["Unseen tasks before and after gradient steps. Grey: the truth. Dots: the support points."] * 2
    )


def other_tasks(run: Path, recipe: str, family: str, metrics: dict[str, float]) -> Path:
    """The run, as if it had been measured on other tasks."""
    config = json.loads((run / "config.json").read_text()) | {"recipe": recipe, "family": family}
    (run / "config.json").write_text(json.dumps(config))
    found = {name: {"mean": mean, "ci95": 0.01, "n": 9, "over": "tasks"} for name, mean in metrics.items()}
    (run / "result.json").write_text(json.dumps({"metrics": found}))
    return run


def test_runs_of_other_experiments_stand_apart(tmp_path: Path) -> None:
    cart = other_tasks(make_run(tmp_path / "cart"), "cartpole-np", "CartPole()", {"np/return": 200.0})
    walk = other_tasks(make_run(tmp_path / "walk"), "navigation2d-maml", "Navigation2D()", {"maml/return": -3.6})
    page = Page(write_report([cart, walk], tmp_path / "report.html").read_text())
    assert ("td", "class", "best") not in page.attributes
    assert page.text.count("return of an episode") == 2 and "Comparison" not in page.text
    assert "\ncart and walk\n" in page.text
    assert page.text.index("\ncart\n") < page.text.index("200.000 ± 0.010") < page.text.index("\nwalk\n")


def test_bold_is_explained_where_there_is_any(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, error) for name, error in (("a", 0.5), ("b", 2.0), ("c", 2.1))]
    for several, clear in ((runs[:2], True), (runs[1:], False)):
        page = Page(write_report(several, tmp_path / "report.html").read_text())
        assert (("td", "class", "best") in page.attributes) is clear
        assert ("Bold: the best of its column" in page.text) is clear
        assert "K: points in the support set" in page.text


def test_the_learner_has_its_colour_in_a_comparison(tmp_path: Path) -> None:
    value = {"mean": 1.0, "ci95": 0.1}
    results = {"here": {"mse/k=5": value, "np/mse/k=5": value}, "there": {"mse/k=5": value}}
    drawn = comparison(results, {"here": "maml", "there": "maml"})
    assert drawn is not None
    colours = [bar.lines[0].get_color() for bar in drawn.figure.axes[0].containers]
    assert colours == [COLOURS["maml"], COLOURS["np"], COLOURS["maml"]]
    assert drawn.figure.axes[0].get_xlabel() == "K, points in the support set of each task"


def test_how_it_was_made(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    learner = {"class": "MAML", "lr": 0.01, "loss": None}
    more = {"learner": learner, "family": "Sinusoid(noise=0.0)", "options": {"shots": [5, 10]}, "tasks": 25}
    (run / "config.json").write_text(json.dumps(config | more))
    text = Page(write_report([run], tmp_path / "report.html").read_text()).text
    for fact in ("MAML(lr=0.01)", "Sinusoid(noise=0.0)", "shots=[5, 10]", "tasks=25", "quickstudy run sinusoid-maml"):
        assert fact in text.partition("How it was made")[2], fact


def test_nothing_is_cut_in_print(tmp_path: Path) -> None:
    text = write_report([make_run(tmp_path / "run")], tmp_path / "report.html").read_text()
    printed = text.partition("@media print {")[2]
    assert "landscape" in printed and ".wide { overflow: visible; }" in printed and "white-space: pre-wrap" in printed


def test_a_figure_has_the_caption_within_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    drawn = panels.side_by_side({"MAML": [panels.Panel([0, 1], truth=[0, 1])]})
    figures.save(drawn, run / "figures", "adaptation", "From 7 points.")
    figures.save(drawn, run / "seed-4" / "figures", "beliefs", "From 3 points.")
    text = Page(write_report([run], tmp_path / "report.html").read_text()).text
    assert "From 7 points." in text and "From 3 points. (Seed 4 only.)" in text


def test_a_learner_has_one_name_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text()) | {"recipe": "demo", "learner": None}
    (run / "config.json").write_text(json.dumps(config))
    for part in ("np", "oracle"):
        (run / part).mkdir()
        (run / part / "config.json").write_text(json.dumps({"learner": {"class": part.upper()}}))
        (run / part / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    drawn: list[dict[str, object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            figures,
            "training",
            lambda curves, **_: drawn.append(curves) or panels.side_by_side({"": [panels.Panel([0, 1], truth=[0, 1])]}),
        )
        text = Page(write_report([run], tmp_path / "report.html").read_text()).text
    assert list(drawn[0]) == ["run", "Neural Process", "told the task"]
    assert "learner of Neural Process" in text and "learner of told the task" in text


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({"class": "MAML", "loss": None, "likelihood": None}, True),
        ({"class": "MAML", "loss": None, "likelihood": {"class": "Gaussian"}}, False),
        ({"class": "MAML", "loss": {"class": None, "foreign": "mine"}, "likelihood": None}, False),
        ({"class": "CNP"}, False),
        ({"class": None, "foreign": "mine.Learner"}, False),
    ],
)
def test_only_errors_may_have_a_logarithmic_scale(spec: dict[str, object], errors: bool, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    asked: list[bool] = []
    drawn = figures.training
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            figures, "training", lambda curves, *, errors: asked.append(errors) or drawn(curves, errors=errors)
        )
        for other in ({"class": "MAML", "loss": None, "likelihood": None}, spec):
            (run / "config.json").write_text(json.dumps(config | {"learner": other}))
            write_report([run], tmp_path / "report.html")
    assert asked == [True, errors]


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<script>alert(1)<")
    assert "<script" not in write_report([run], tmp_path / "report.html").read_text()


def test_the_steps_that_a_run_was_trained_with_are_known(tmp_path: Path) -> None:
    learner, odd = {"learner": {"steps": 5}}, {"learner": {"steps": "five"}}
    for part, config in (
        {"": {"options": {"test_steps": [0, 7]}}, "a": learner, "b": odd, "seed-1/a": learner}
    ).items():
        (tmp_path / part).mkdir(parents=True, exist_ok=True)
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    assert read_run(tmp_path).steps == {"": {0, 7}, "a": {5}, "b": set()}
    assert read_run(tmp_path / "a").steps == {"": {5}}


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
