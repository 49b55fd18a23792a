"""What a newcomer does first, in an environment that holds the wheel and what it needs, and in an empty folder."""

import csv
import math
import re
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from release.environment import CommandError, Environment, clean_variables

SHORT = "--steps 20 --process-steps 20 --width 16 --test-tasks 20 --shots 5".split()
OPTIMISED = "--steps 5 --process-steps 5 --width 8 --test-tasks 10 --shots 5 --out runs/optimised".split()
TABLE = "--group subject --x day --y speed".split()
TRAINED = """
import sys, torch, quickstudy as qs
from quickstudy.data import Examples
x = torch.linspace(-1, 1, 9).view(1, 9, 1)
belief = qs.load("tnp/rbf").adapt(Examples(x, x.sin()))(x)
assert (belief.mean - x.sin()).abs().max() < 0.1, belief.mean
"""
PLACE = "import quickstudy, sys; assert quickstudy.__file__.startswith(sys.prefix), quickstudy.__file__"
PAGE = re.compile(r"http://127\.0\.0\.1:\d+/")
LIGHT = "import sys, quickstudy; assert not {'torch', 'matplotlib', 'numpy'} & set(sys.modules), sorted(sys.modules)"


def steps(env: Environment, version: str) -> list[tuple[str, Callable[[], object]]]:
    """The steps of the trial, each with what it shows; a step that fails raises CommandError.

    Args:
        env: an environment with the wheel.
        version: the version that it should have.
    """
    return [
        ("it is installed, and imports neither torch nor numpy", lambda: _imports(env)),
        ("what it needs fits together (pip check)", lambda: env.run("python", "-m", "pip", "check")),
        ("quickstudy --version, and python -m quickstudy --version", lambda: _versions(env, version)),
        ("quickstudy --help, list", lambda: (env.run("quickstudy", "--help"), env.run("quickstudy", "list"))),
        ("a misspelt command is an error of one line", lambda: _misspelt(env)),
        ("a learner that comes with it predicts", lambda: env.run("python", "-W", "error", "-c", TRAINED)),
        ("quickstudy demo", lambda: _demo(env)),
        ("quickstudy report, cite", lambda: _pages(env)),
        ("quickstudy table, predict", lambda: _table(env)),
        ("quickstudy play", lambda: _play(env)),
        ("python -OO -m quickstudy demo", lambda: env.run("python", "-OO", "-m", "quickstudy", "demo", *OPTIMISED)),
        ("every optional part asks for its extra by name", lambda: _extras(env)),
    ]


def _imports(env: Environment) -> None:
    for code in (PLACE, LIGHT):
        env.run("python", "-W", "error", "-c", code)


def _versions(env: Environment, version: str) -> None:
    for words in (("quickstudy", "--version"), ("python", "-m", "quickstudy", "--version")):
        if (said := env.run(*words)) != f"quickstudy {version}\n":
            raise CommandError(f"{' '.join(words)} printed {said!r}; expected quickstudy {version}")


def _misspelt(env: Environment) -> None:
    said = env.run("quickstudy", "dmeo", status=2)
    if said.count("\n") != 1 or "did you mean 'demo'?" not in said:
        raise CommandError(f"quickstudy dmeo printed {said!r}")


def _demo(env: Environment) -> None:
    env.run("quickstudy", "demo", *SHORT)
    for name in ("result.json", "report.html", "figures/functions.png"):
        _written(env.folder / "runs/demo" / name)


def _pages(env: Environment) -> None:
    env.run("quickstudy", "report", "runs/demo", "--out", "page.html")
    _written(env.folder / "page.html")
    if "@inproceedings{finn2017maml" not in env.run("quickstudy", "cite", "runs/demo"):
        raise CommandError("quickstudy cite runs/demo printed no reference")


def _written(path: Path) -> None:
    if not path.is_file() or not path.stat().st_size:
        raise CommandError(f"{path.name} was not written")


def _table(env: Environment) -> None:
    """Eight subjects who become faster from day to day, one of whom is new."""
    rows = [
        (f"s{i}", day, 200 + 7 * i + (10 + i) * day + 3 * math.sin(5 * i + day)) for i in range(8) for day in range(5)
    ]
    new = [(name, day, speed if day < 2 else "") for name, day, speed in rows if name == "s7"]
    for file, lines in (("speed.csv", [row for row in rows if row[0] != "s7"]), ("new.csv", new)):
        with (env.folder / file).open("w", newline="") as out:
            csv.writer(out).writerows([("subject", "day", "speed"), *lines])
    env.run("quickstudy", "table", "speed.csv", *TABLE)
    env.run("quickstudy", "predict", "models/speed", "new.csv")
    with (env.folder / "predictions.csv").open(newline="") as found:
        predicted = list(csv.DictReader(found))
    if len(predicted) != 3 or not all(math.isfinite(float(row["speed_mean"])) for row in predicted):
        raise CommandError(f"predictions.csv holds {predicted}")


def _play(env: Environment) -> None:
    """The page is served on loopback, at a free port, until it is stopped."""
    env.run("quickstudy", "play", "--help")
    server = subprocess.Popen(
        [str(env.root / "bin/quickstudy"), "play", "--port", "0", "--no-browser"],
        cwd=env.folder,
        env=clean_variables() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if found := PAGE.search(line):
                with urllib.request.urlopen(found.group(), timeout=60) as page:
                    if "<html" not in page.read().decode().lower():
                        raise CommandError(f"{found.group()} is no page")
                return
        raise CommandError(f"quickstudy play ended before it named a page:\n{''.join(said)}")
    finally:
        server.terminate()
        server.wait(30)


def _extras(env: Environment) -> None:
    env.run("python", str(Path(__file__).with_name("without_extras.py")))
