"""The commands of the command line. Each of them parses its arguments, does its work and prints the results."""

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
    """The command line has an error; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Continue a run that was stopped, of a recipe or of quickstudy.fit. A finished run is shown and not changed."""

    run: Path
    """Folder of the run; for a run with several parts or seeds, the outer folder."""
    method: Path | None = None
    """Python file of the method of your own, if the run was started with --method: a run's word is not enough."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a run, of a recipe or of quickstudy.fit, on unseen tasks."""

    run: Path
    """Folder of the run."""
    tasks: int | None = None
    """Number of unseen tasks; by default as in the recipe, or 600 for a run of quickstudy.fit (40 for a policy)."""
    support: tuple[int, ...] = ()
    """Numbers of support points of a task (for a policy, of episodes before each step); by default as in the run."""
    steps: tuple[int, ...] = ()
    """Numbers of gradient steps after which to measure; by default as in the run."""
    which: Literal["best", "last"] | None = None
    """Weights to measure: the best on the validation tasks, or the last; by default as in the run."""
    seed: int | None = None
    """Seed of the unseen tasks; by default as in the recipe, or 0 for a run of quickstudy.fit."""
    method: Path | None = None
    """Python file of the method of your own, if the run was started with --method: a run's word is not enough."""
    write: bool = False
    """Write the numbers to result.json and report.html, and draw the figures again."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about a run, or one that compares several runs. The page needs no network."""

    runs: tuple[Path, ...]
    """Folders of the runs."""
    out: Path | None = None
    """File to write; by default RUN/report.html for one run, and ./report.html for several."""


@dataclass(frozen=True, kw_only=True)
class All:
    """Run three recipes (regression, navigation, carts) in small sizes, in at most six minutes, and write one page."""

    out: Path = Path("runs/demo-all")
    """Folder of the runs and of report.html."""
    seed: int = 0
    """Seed of all runs."""
    device: str = "auto"
    """Device to train on: auto (a GPU if there is one), cpu, cuda, cuda:1 ..."""


@dataclass(frozen=True, kw_only=True)
class Cite:
    """Print BibTeX for what a run used."""

    run: Path
    """Folder of the run."""


def demo(arguments: list[str]) -> None:
    """Run the recipe `demo`, or show the results of an earlier demo; with --all, run navigation and carts, too."""
    command = shlex.join(["quickstudy", "demo", *arguments])
    if "--all" in arguments:
        return _demo_all(_parse(All, [a for a in arguments if a != "--all"], "demo --all", All.__doc__), command)
    about = f"{RECIPES['demo'].summary}. --all adds navigation and carts (see quickstudy demo --all --help)."
    options = _parse(RECIPES["demo"].load().Options, arguments, "demo", about)
    out = options.out or Path("runs/demo")
    return _demo("demo", replace(options, out=out), command, _resuming(out))


def _demo_all(given: "All", command: str) -> None:
    from quickstudy.recipes.systems import each

    _check_no_run(given.out)
    folders = each(
        given.out, lambda name, options: _demo(name, options, command, command), seed=given.seed, device=given.device
    )
    _report(folders, given.out / "report.html")


def _demo(name: str, options: "Options", command: str, resuming: str) -> None:
    """Run a recipe, or show the results of an earlier call; `resuming` is the command that continues a stopped demo."""
    assert options.out is not None
    exists = (options.out / "config.json").exists()
    if exists:
        _check_same(name, options, options.out)
    _execute(name, options, "resume" if exists else "new", command, resuming)


def list_recipes(arguments: list[str]) -> None:
    """Print the recipes, one line each."""
    if any(word not in ("--help", "-h") for word in arguments):
        raise UsageError(f"list takes no arguments; leave out {shlex.join(arguments)}")
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
        raise UsageError(
            f"there is no recipe {name!r}; {nearest(name, RECIPES, '`quickstudy list` shows the recipes')}"
        )
    options = _parse(RECIPES[name].load().Options, rest, f"run {name}", RECIPES[name].summary)
    _run(name, options, shlex.join(["quickstudy", "run", *arguments]))


def resume(arguments: list[str]) -> None:
    """Continue a run."""
    given = _parse(Resume, arguments, "resume", Resume.__doc__)
    path = given.run
    from quickstudy.experiments import fitted
    from quickstudy.experiments.execute import reopen

    run_of_fit = fitted.find(path)
    if run_of_fit is None or run_of_fit.outer is not None:
        name, options = reopen(path, given.method)
        return _execute(name, options, "resume", _command_of(path), _resuming(path, options))
    display = _display()
    with _message_when_stopped(display, path, _resuming(path)):
        result = fitted.resume(run_of_fit, display)
    if _is_first():
        _show(result["metrics"], path)
        _write_page(path)


def evaluate(arguments: list[str]) -> None:
    """Measure a run again."""
    given = _parse(Evaluate, arguments, "evaluate", Evaluate.__doc__)
    from quickstudy.experiments import fitted

    run_of_fit = fitted.find(given.run)
    if run_of_fit is not None:
        with _shell_words(vars(given), {"num_envs": "--support"}):
            metrics = fitted.evaluate(run_of_fit, **_checked(given))
        if given.write:
            fitted.write(run_of_fit, metrics)
        _show_measured({name: metric.to_json() for name, metric in metrics.items()}, given)
        return _write_page(given.run) if given.write else None
    return _evaluate_recipe(given)


def _checked(given: Evaluate) -> dict[str, Any]:
    """The arguments of `fitted.evaluate`. Raises UsageError if one of them is too small."""
    for word, value, least in (("tasks", given.tasks, 2), ("seed", given.seed, 0)):
        if value is not None and value < least:
            raise UsageError(f"--{word} {value}: expected at least {least}")
    for word, values, least in (("support", given.support, 0), ("steps", given.steps, 0)):
        if min(values, default=least) < least:
            raise UsageError(f"--{word} {' '.join(map(str, values))}: expected at least {least}")
    names = ("tasks", "support", "steps", "which", "seed")
    return {name: getattr(given, name) for name in names}


def _evaluate_recipe(given: Evaluate) -> None:
    from quickstudy.experiments.execute import execute, reopen
    from quickstudy.experiments.remeasure import NAMES_IN_EVALUATE, labelled, protocols
    from quickstudy.training.display import Display

    name, options = reopen(given.run, given.method)
    sizes: dict[str, Any] = {"tasks": given.tasks, "support": given.support, "steps": given.steps}
    found = protocols(name, options, which=given.which, seed=given.seed, **sizes)
    if given.write and len(found) > 1:
        raise UsageError("--write keeps one measurement; give one number with --support, or leave --write out")
    for options in found.values():
        _check(options, NAMES_IN_EVALUATE)
    metrics: dict[str, Any] = {}
    command = _command_of(given.run)
    for label, options in found.items():
        display = Display()
        with _shell_words(vars(options), NAMES_IN_EVALUATE):
            result = execute(name, options, mode="measure", command=command, reporter=display, write=given.write)
        metrics |= labelled(result["metrics"], label)
    _show_measured(metrics, given, name)
    if given.write:
        _write_page(given.run)


def report(arguments: list[str]) -> None:
    """Write an HTML page."""
    given = _parse(Report, arguments, "report", Report.__doc__)
    if not given.runs:
        raise UsageError("report needs the folder of at least one run: quickstudy report RUN...")
    default = given.runs[0] / "report.html" if len(given.runs) == 1 else Path("report.html")
    _report(given.runs, given.out or default)


def cite(arguments: list[str]) -> None:
    """Print BibTeX."""
    path = _parse(Cite, arguments, "cite", Cite.__doc__).run
    from quickstudy.report.citations import BIBTEX, keys_of_run

    print("\n\n".join(BIBTEX[key] for key in keys_of_run(path)))


def table(arguments: list[str]) -> None:
    """Choose among learners for a table of groups."""
    from quickstudy.report.terminal import show_tables
    from quickstudy.tables import shell

    about = "Choose among learners for your table of groups by cross-validation over groups, and fit a mixture of them."
    given = _parse(shell.Choosing, arguments, "table", about, named=True)
    with _shell_words(vars(given), {"task": "--group"}):
        out, metrics = shell.table(given)
    print()
    show_tables(metrics, recipe="table")
    print(f"model: {out}\nnext:  quickstudy predict {shlex.quote(str(out))} NEW.csv")


def predict(arguments: list[str]) -> None:
    """Predict new groups by a model that `table` wrote."""
    from quickstudy.tables import shell

    given = _parse(
        shell.Predicting, arguments, "predict", "Predict new groups of a table from their known rows.", named=True
    )
    with _shell_words(vars(given)):
        sentences = shell.predictions(given)
    print("\n".join(sentences))


def play(arguments: list[str]) -> None:
    """Serve the page on which learners are tried out."""
    from quickstudy.play.command import Playing
    from quickstudy.play.command import play as serve

    about = "Open a page where you click points and watch learners change their minds. Nothing leaves this machine."
    given = _parse(Playing, arguments, "play", about, named=True)
    serve(given)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "demo": demo,
    "play": play,
    "list": list_recipes,
    "run": run,
    "resume": resume,
    "evaluate": evaluate,
    "report": report,
    "cite": cite,
    "table": table,
    "predict": predict,
}


KEPT = ("demo", "run", "resume", "report", "table", "predict")
"""Commands that write their results to files. They succeed even if their output cannot be printed."""


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """A question with the known word that is most like `word`, or the text `otherwise` if none is like it."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise


def _parse(kind: type[Kind], arguments: list[str], name: str, about: str | None, *, named: bool = False) -> Kind:
    """Parse the arguments into a dataclass by tyro, which prints --help, and suggestions for misspelt options.

    Arguments that are required have no name, unless they are `named`.
    """
    import tyro

    from quickstudy.experiments.options import Options

    config = () if named or issubclass(kind, Options) else (tyro.conf.PositionalRequiredArgs,)
    parsed = tyro.cli(kind, args=arguments, prog=f"quickstudy {name}", description=about, config=config)
    if isinstance(parsed, Options):
        _check(parsed)
    return parsed


def _check(options: "Options", words: Mapping[str, str] | None = None) -> None:
    """Raise UsageError if a shared option has an invalid value; `words` maps options to their names in this command."""
    from quickstudy.devices import pick_device
    from quickstudy.experiments.options import check_options

    try:
        check_options(options, words)
        pick_device(options.device)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _run(name: str, options: "Options", command: str) -> None:
    """Run a recipe. Raises FileExistsError if its folder already holds a run."""
    from quickstudy.experiments.execute import default_folder

    out = options.out or default_folder(name, options)
    if (out / "config.json").exists() and not _restarted(out):
        _check_same(name, options, out)
        raise FileExistsError(
            f"{out} already holds this run; continue it, or show its results, with `{_resuming(out, options)}`, or "
            "choose another --out"
        )
    _execute(name, replace(options, out=out), "new", command, _resuming(out, options))


def _execute(name: str, options: "Options", mode: "Mode", command: str | None, resuming: str) -> None:
    from quickstudy.experiments.execute import execute

    assert options.out is not None
    out, display = options.out, _display()
    with _message_when_stopped(display, out, resuming), _shell_words(vars(options)):
        result = execute(name, options, mode=mode, command=command, reporter=display)
    if _is_first():
        _show(result["metrics"], out, name)
        _write_page(out)


@contextmanager
def _shell_words(options: Mapping[str, Any], words: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within this context, errors name options of the shell; see `in_shell_words`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        from quickstudy.experiments.shell_words import in_shell_words

        if error.args and isinstance(error.args[0], str):
            error.args = (in_shell_words(error.args[0], options, words), *error.args[1:])
        raise


def _display() -> "Reporter":
    """A reporter that shows progress. Of the processes that torchrun started, only the first one shows it."""
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
def _message_when_stopped(display: "Reporter", out: Path, resuming: str) -> Iterator[None]:
    """If the run at `out` is interrupted within this context, show the command that continues it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (out / "config.json").exists():
            display.say(f"stopped; continue with `{resuming}`")
        raise


def _resuming(out: Path, options: object = None) -> str:
    """The command that continues the run at `out`; `options` are those of its recipe."""
    method = getattr(options, "method", None)
    return shlex.join(["quickstudy", "resume", str(out), *(["--method", str(method)] if method else [])])


def _show(metrics: Mapping[str, Any], out: Path, recipe: str = "") -> None:
    """Print metrics of the run at `out`, and where its files are."""
    _show_tables(metrics, out, recipe)
    print(f"run:     {out}")
    if any(out.glob("figures/*")):
        print(f"figures: {out / 'figures'}{os.sep}")


def _show_measured(metrics: Mapping[str, Any], given: Evaluate, recipe: str = "") -> None:
    """Print metrics of a run that was measured again, which draws no figures."""
    _show_tables(metrics, given.run, recipe, given.steps)
    print(f"run:     {given.run}{'' if given.write else ' (unchanged; --write would keep these numbers)'}")


def _show_tables(metrics: Mapping[str, Any], out: Path, recipe: str = "", steps: Collection[int] = ()) -> None:
    """Print tables of metrics; the numbers of gradient steps in `steps` and those of the run are shown in any case."""
    from quickstudy.report.runs import read_run
    from quickstudy.report.terminal import show_tables

    own = read_run(out).steps
    show_tables(metrics, recipe=recipe, steps=own | {"": {*own[""], *steps}})


def _write_page(out: Path) -> None:
    """Write the HTML page of the run at `out`. If that fails, print a message; the run has succeeded nevertheless."""
    try:
        _report([out], out / "report.html")
    except Exception as error:  # any error: the results of a long training must not be lost
        why = f"{type(error).__name__}: {error}"
        retry = f"`quickstudy report {shlex.quote(str(out))}`"
        print(
            f"report:  not written ({why}); the numbers are in {out / 'result.json'}; try again with {retry}",
            file=sys.stderr,
        )


def _report(runs: Sequence[Path], out: Path) -> None:
    from quickstudy.report.html import write_report

    print(f"report:  {write_report(runs, out)}")


def _recipes() -> str:
    width = max(map(len, RECIPES))
    return "\n".join(f"  {name:<{width}}  {recipe.summary}" for name, recipe in RECIPES.items())


def _command_of(path: Path) -> str | None:
    """The command that started the run at `path`."""
    from quickstudy.report.runs import read_config

    return read_config(path).get("command")


def _check_same(name: str, options: "Options", out: Path) -> None:
    """Raise FileExistsError if the run at `out` has another recipe or other options."""
    from quickstudy.experiments.again import differences
    from quickstudy.experiments.execute import recorded

    found, before = recorded(out)
    if found != name:
        raise FileExistsError(f"{out} holds a run of {found}; choose another --out")
    sentences = differences(options, before, out)
    if sentences:
        raise FileExistsError(f"{out} holds a run of {name} with other options. {' '.join(sentences)}")


def _check_no_run(out: Path) -> None:
    """Raise FileExistsError if `out` is the folder of a run, since several runs are written into it."""
    if (out / "config.json").exists():
        raise FileExistsError(f"{out} holds a run; choose another --out")
