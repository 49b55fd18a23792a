"""The commands of the command line. Each reads its arguments, does its work, and prints what came of it."""

import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """Continue a run that was stopped, of a recipe or of quickstudy.fit. A finished run is shown and not changed."""

    run: Path
    """Folder of the run; of a run with parts, the outer one."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a run, of a recipe or of quickstudy.fit, on unseen tasks."""

    run: Path
    """Folder of the run."""
    tasks: int | None = None
    """Number of unseen tasks; by default that of the recipe, or 600 (40 for a policy)."""
    support: tuple[int, ...] = ()
    """Support points of each task (of a policy: episodes before each gradient step); by default as in the run."""
    steps: tuple[int, ...] = ()
    """Numbers of gradient steps after which to measure; by default those of the run."""
    which: Literal["best", "last"] | None = None
    """Weights to measure: best on the validation tasks, or last; by default those that the run measured."""
    seed: int | None = None
    """Seed of the unseen tasks; by default that of the recipe, or 0."""
    write: bool = False
    """Write the numbers to result.json."""


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
    return _demo("demo", replace(options, out=out), command, _resuming(out))


def _demo_all(asked: "All", command: str) -> None:
    from quickstudy.recipes.systems import each

    _check_free(asked.out)
    folders = each(
        asked.out, lambda name, options: _demo(name, options, command, command), seed=asked.seed, device=asked.device
    )
    _report(folders, asked.out / "report.html")


def _demo(name: str, options: "Options", command: str, again: str) -> None:
    """Run a recipe, or show what an earlier call made; `again` is the command that goes on with all of it."""
    assert options.out is not None
    begun = (options.out / "config.json").exists()
    if begun:
        _check_same(name, options, options.out)
    _execute(name, options, "resume" if begun else "new", command, again)


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
    _run(name, options, shlex.join(["quickstudy", "run", *arguments]))


def resume(arguments: list[str]) -> None:
    """Go on with a run."""
    path = _parse(Resume, arguments, "resume", Resume.__doc__).run
    from quickstudy.experiments import fitted
    from quickstudy.experiments.execute import reopen

    made = fitted.find(path)
    if made is None or made.outer is not None:
        name, options = reopen(path)
        return _execute(name, options, "resume", _command_of(path), _resuming(path))
    display = _display()
    with _stopping(display, path, _resuming(path)):
        result = fitted.resume(made, display)
    return _show(result["metrics"], path) if _is_first() else None


def evaluate(arguments: list[str]) -> None:
    """Measure a run again."""
    asked = _parse(Evaluate, arguments, "evaluate", Evaluate.__doc__)
    from quickstudy.experiments import fitted

    made = fitted.find(asked.run)
    if made is not None:
        metrics = fitted.evaluate(made, **_asked(asked))
        if asked.write:
            fitted.write(made, metrics)
        return _show({name: metric.to_json() for name, metric in metrics.items()}, asked.run, steps=asked.steps)
    return _evaluate_recipe(asked)


def _asked(asked: Evaluate) -> dict[str, Any]:
    """What `fitted.evaluate` takes, checked."""
    for word, value, least in (("tasks", asked.tasks, 2), ("seed", asked.seed, 0)):
        if value is not None and value < least:
            raise UsageError(f"--{word} {value}: expected at least {least}")
    for word, values, least in (("support", asked.support, 0), ("steps", asked.steps, 0)):
        if min(values, default=least) < least:
            raise UsageError(f"--{word} {' '.join(map(str, values))}: expected at least {least}")
    names = ("tasks", "support", "steps", "which", "seed")
    return {name: getattr(asked, name) for name in names}


def _evaluate_recipe(asked: Evaluate) -> None:
    from quickstudy.experiments.execute import execute, reopen
    from quickstudy.experiments.remeasure import WORDS, labelled, protocols
    from quickstudy.training.display import Display

    name, options = reopen(asked.run)
    how: dict[str, Any] = {"tasks": asked.tasks, "support": asked.support, "steps": asked.steps}
    found = protocols(name, options, which=asked.which, seed=asked.seed, **how)
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
    _show(metrics, asked.run, name, asked.steps)
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


def _run(name: str, options: "Options", command: str) -> None:
    """Run a recipe in a folder that holds no run yet."""
    from quickstudy.experiments.execute import default_folder

    out = options.out or default_folder(name, options)
    if (out / "config.json").exists() and not _restarted(out):
        _check_same(name, options, out)
        raise FileExistsError(
            f"{out} holds this run already; go on with it, or see what it found, by `{_resuming(out)}`, or choose "
            "another --out"
        )
    _execute(name, replace(options, out=out), "new", command, _resuming(out))


def _execute(name: str, options: "Options", mode: "Mode", command: str | None, again: str) -> None:
    from quickstudy.experiments.execute import execute

    assert options.out is not None
    out, display = options.out, _display()
    with _stopping(display, out, again):
        result = execute(name, options, mode=mode, command=command, reporter=display)
    if _is_first():
        _show(result["metrics"], out, name)
        _page(out)


def _display() -> "Reporter":
    """Shows how work goes on; of the processes that torchrun started, one speaks."""
    from quickstudy.experiments.stage import Silent
    from quickstudy.training.display import Display

    return Display() if _is_first() else Silent()


def _is_first() -> bool:
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return alone or os.environ.get("RANK", "0") == "0"


def _restarted(out: Path) -> bool:
    """Whether torchrun has restarted the job that began the run at `out`."""
    from quickstudy.parallel.distributed import is_restart
    from quickstudy.report.runs import read_config

    return is_restart(read_config(out))


@contextmanager
def _stopping(display: "Reporter", out: Path, again: str) -> Iterator[None]:
    """While entered, somebody who stops the run at `out` is told the command that goes on with it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (out / "config.json").exists():
            display.say(f"stopped; go on with `{again}`")
        raise


def _resuming(out: Path) -> str:
    return f"quickstudy resume {shlex.quote(str(out))}"


def _show(metrics: Mapping[str, Any], out: Path, recipe: str = "", steps: Collection[int] = ()) -> None:
    """Print what was measured of the run at `out`, after these numbers of gradient steps in any case."""
    from quickstudy.report.runs import read_run
    from quickstudy.report.terminal import show_tables

    own = read_run(out).steps
    show_tables(metrics, recipe=recipe, steps=own | {"": {*own[""], *steps}})
    print(f"run:     {out}")
    if any(out.glob("figures/*")):
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
    from quickstudy.experiments.again import differences
    from quickstudy.experiments.execute import reopen

    found, before = reopen(out)
    if found != name:
        raise FileExistsError(f"{out} holds a run of {found}; choose another --out")
    told = differences(options, before, out)
    if told:
        raise FileExistsError(f"{out} holds a run of {name} with other options. {' '.join(told)}")


def _check_free(out: Path) -> None:
    """Raise FileExistsError if `out` is itself a run: others would lie among its files."""
    if (out / "config.json").exists():
        raise FileExistsError(f"{out} holds a run; choose another --out")
