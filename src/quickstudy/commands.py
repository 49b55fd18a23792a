"""The commands of the command line. Each reads its arguments, does its work, and prints what came of it."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from quickstudy.experiments.catalogue import RECIPES

if TYPE_CHECKING:
    from quickstudy.experiments.options import Options
    from quickstudy.experiments.stage import Mode, Reporter

Kind = TypeVar("Kind")


class UsageError(Exception):
    """The command line was misspelt; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped. Of a finished run nothing changes."""

    run: Path
    """Its folder."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a run again, on as many unseen tasks and after as few points, or episodes, as you like."""

    run: Path
    """Its folder."""
    tasks: int | None = None
    """Unseen tasks; by default as many as the recipe took."""
    support: tuple[int, ...] = ()
    """Points seen of each task, or of a policy's tasks episodes before every gradient step; by default the recipe's."""
    steps: int | None = None
    """Gradient steps of a policy in each task, measured after each of them; by default the recipe's."""
    which: Literal["best", "last"] | None = None
    """Which weights; by default those that the recipe measured."""
    seed: int | None = None
    """Seed of the unseen tasks; by default the recipe's."""
    write: bool = False
    """Put the new numbers into result.json."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about a run, or comparing several. It opens without a network."""

    runs: tuple[Path, ...]
    """Run folders."""
    out: Path | None = None
    """Where to write it; by default RUN/report.html, or report.html here for several runs."""


@dataclass(frozen=True, kw_only=True)
class All:
    """MAML and Neural Processes on regression, navigation and carts, small, on one page, in six minutes at most."""

    out: Path = Path("runs/demo-all")
    """Folder of the runs and of report.html."""
    seed: int = 0
    """Of everything."""
    device: str = "auto"
    """Where to train: auto (a GPU if there is one), cpu, cuda, cuda:1 ..."""


@dataclass(frozen=True, kw_only=True)
class Cite:
    """Print BibTeX for what a run used."""

    run: Path
    """Its folder."""


def demo(arguments: list[str]) -> None:
    """Train everything on sine waves, or show what an earlier demo made; with --all, navigation and carts too."""
    command = shlex.join(["quickstudy", "demo", *arguments])
    if "--all" in arguments:
        return _demo_all(_parse(All, [a for a in arguments if a != "--all"], "demo --all", All.__doc__), command)
    about = f"{RECIPES['demo'].summary}. With --all: navigation and carts too, on one page (see demo --all --help)"
    options = _parse(RECIPES["demo"].load().Options, arguments, "demo", about)
    out = options.out or Path("runs/demo")
    return _demo("demo", replace(options, out=out), command)


def _demo_all(asked: "All", command: str) -> None:
    from quickstudy.recipes.systems import each

    _check_free(asked.out)
    folders = each(asked.out, lambda name, options: _demo(name, options, command), seed=asked.seed, device=asked.device)
    _report(folders, asked.out / "report.html")


def _demo(name: str, options: "Options", command: str) -> None:
    """Run a recipe, or show what an earlier call made."""
    assert options.out is not None
    again = (options.out / "config.json").exists()
    if again:
        _check_same(name, options, options.out)
    _execute(name, options, "resume" if again else "new", command)


def list_recipes(arguments: list[str]) -> None:
    """Print the recipes, one line each."""
    if any(word not in ("--help", "-h") for word in arguments):
        raise UsageError(f"list takes nothing, not {shlex.join(arguments)}")
    print(_recipes())


def run(arguments: list[str]) -> None:
    """Run a recipe."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(
            f"usage: quickstudy run RECIPE [OPTIONS]\n\n{_recipes()}\n\nquickstudy run RECIPE --help shows its options"
        )
        raise SystemExit(0 if arguments else 2)
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise UsageError(f"name the recipe first: quickstudy run RECIPE {shlex.join(arguments)}")
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; {nearest(name, RECIPES, 'quickstudy list')}")
    options = _parse(RECIPES[name].load().Options, rest, f"run {name}", RECIPES[name].summary)
    _execute(name, options, "new", shlex.join(["quickstudy", "run", *arguments]))


def resume(arguments: list[str]) -> None:
    """Go on with a run."""
    path = _parse(Resume, arguments, "resume", Resume.__doc__).run
    from quickstudy.experiments.execute import reopen

    name, options = reopen(path)
    _execute(name, options, "resume", _command_of(path))


def evaluate(arguments: list[str]) -> None:
    """Measure a run again."""
    asked = _parse(Evaluate, arguments, "evaluate", Evaluate.__doc__)
    from quickstudy.experiments.execute import execute, reopen
    from quickstudy.experiments.remeasure import WORDS, labelled, protocols
    from quickstudy.training.display import Display

    name, options = reopen(asked.run)
    size = {"tasks": asked.tasks, "steps": asked.steps}
    found = protocols(name, options, support=asked.support, which=asked.which, seed=asked.seed, **size)
    if asked.write and len(found) > 1:
        raise UsageError("--write keeps one measurement; give one number with --support, or leave --write out")
    for options in found.values():
        _check(options, WORDS)
    metrics: dict[str, Any] = {}
    command = _command_of(asked.run)
    for label, options in found.items():
        display = Display()
        result = execute(name, options, mode="measure", command=command, reporter=display, write=asked.write)
        metrics |= labelled(result["metrics"], label)
    _show(metrics, asked.run, name)
    if asked.write:
        _page(asked.run)


def report(arguments: list[str]) -> None:
    """Write an HTML page."""
    asked = _parse(Report, arguments, "report", Report.__doc__)
    if not asked.runs:
        raise UsageError("report needs the folder of at least one run: quickstudy report RUN...")
    alone = asked.runs[0] / "report.html"
    _report(asked.runs, asked.out or (alone if len(asked.runs) == 1 else Path("report.html")))


def cite(arguments: list[str]) -> None:
    """Print BibTeX."""
    path = _parse(Cite, arguments, "cite", Cite.__doc__).run
    from quickstudy.report.citations import BIBTEX, keys_of_run

    print("\n\n".join(BIBTEX[key] for key in keys_of_run(path)))


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "list": list_recipes,
    "run": run,
    "resume": resume,
    "evaluate": evaluate,
    "report": report,
    "cite": cite,
}


KEPT = ("demo", "run", "resume", "report")
"""Commands whose work is on disk, whether or not what they print can be read."""


def nearest(word: str, known: Iterable[str], where: str) -> str:
    """What to say about a word that is not among those known."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"`{where}` shows what there is"


def _parse(kind: type[Kind], arguments: list[str], name: str, about: str | None) -> Kind:
    """The arguments as a dataclass of that kind; tyro answers --help, and misspelt options with the nearest."""
    import tyro

    from quickstudy.experiments.options import Options

    config = () if issubclass(kind, Options) else (tyro.conf.PositionalRequiredArgs,)
    parsed = tyro.cli(kind, args=arguments, prog=f"quickstudy {name}", description=about, config=config)
    if isinstance(parsed, Options):
        _check(parsed)
    return parsed


def _check(options: "Options", words: Mapping[str, str] | None = None) -> None:
    """Raise UsageError for values of shared options that make no sense; `words` are what they are called here."""
    from quickstudy.devices import pick_device
    from quickstudy.experiments.options import check_options

    try:
        check_options(options, words)
        pick_device(options.device)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _execute(name: str, options: "Options", mode: "Mode", command: str | None) -> None:
    from quickstudy.experiments.execute import default_folder, execute
    from quickstudy.experiments.stage import Silent
    from quickstudy.training.display import Display

    out = options.out or default_folder(name, options)
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    first = alone or os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, one speaks
    display: Reporter = Display() if first else Silent()
    try:
        result = execute(name, options, mode=mode, command=command, reporter=display)
    except (KeyboardInterrupt, SystemExit):
        if (out / "config.json").exists():
            display.say(f"stopped; go on with `quickstudy resume {shlex.quote(str(out))}`")
        raise
    if first:
        _show(result["metrics"], out, name)
        _page(out)


def _show(metrics: Mapping[str, Any], out: Path, recipe: str) -> None:
    from quickstudy.report.terminal import show_tables

    show_tables(metrics, recipe=recipe)
    print(f"run:     {out}")
    if (out / "figures").is_dir():
        print(f"figures: {out / 'figures'}{os.sep}")


def _page(out: Path) -> None:
    """Write the page of the run at `out` into it; where that fails the run has ended well all the same."""
    try:
        _report([out], out / "report.html")
    except Exception as error:  # whatever it is, hours of training may lie behind it
        why = f"{type(error).__name__}: {error}"
        again = f"`quickstudy report {shlex.quote(str(out))}`"
        print(f"report:  not written ({why}); the numbers are in {out / 'result.json'}, try {again}", file=sys.stderr)


def _report(runs: Sequence[Path], out: Path) -> None:
    from quickstudy.report.html import write_report

    print(f"report:  {write_report(runs, out)}")


def _recipes() -> str:
    width = max(map(len, RECIPES))
    return "\n".join(f"  {name:<{width}}  {recipe.summary}" for name, recipe in RECIPES.items())


def _command_of(path: Path) -> str | None:
    """What the user once typed to make this run: its result stays described by it."""
    from quickstudy.report.runs import read_config

    return read_config(path).get("command")


def _check_same(name: str, options: "Options", out: Path) -> None:
    """Raise FileExistsError if the run at `out` is of another recipe or was made with other options than these."""
    from quickstudy.experiments.execute import reopen

    found, before = reopen(out)
    if found != name:
        raise FileExistsError(f"{out} holds a run of {found}; choose another --out")
    changed = [f.name for f in fields(options) if getattr(options, f.name) != getattr(before, f.name)]
    if changed:
        raise FileExistsError(
            f"{out} holds a run of {name} with another {', '.join(changed)}; "
            f"show it with `quickstudy report {out}` or choose another --out"
        )


def _check_free(out: Path) -> None:
    """Raise FileExistsError if `out` is itself a run: others would lie among its files."""
    if (out / "config.json").exists():
        raise FileExistsError(f"{out} holds a run; choose another --out")
