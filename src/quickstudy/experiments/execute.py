"""Running, resuming and re-measuring a recipe, for one seed or several."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from quickstudy.evaluation.intervals import Metric, over_seeds
from quickstudy.experiments.catalogue import RECIPES
from quickstudy.experiments.options import Options, check_options, from_json
from quickstudy.experiments.side_by_side import Job, at_a_time, side_by_side
from quickstudy.experiments.stage import Mode, Reporter, Silent, Stage, device
from quickstudy.parallel.distributed import find_world, is_restart
from quickstudy.report.runs import read_config, read_result
from quickstudy.runs import facts
from quickstudy.runs.atomic import write_file
from quickstudy.runs.run import check_no_links, is_foreign, is_run


def execute(
    recipe: str,
    options: Options,
    *,
    mode: Mode = "new",
    command: str | None = None,
    reporter: Reporter | None = None,
    write: bool = True,
) -> dict[str, Any]:
    """Run a recipe of the table; returns what `result.json` holds.

    Under `torchrun`, all processes train and measure each learner together, and the first one writes the results.

    Args:
        recipe: a name in `quickstudy.recipes.RECIPES`.
        options: the recipe's `Options`. With `seeds`, each seed runs in its own folder, and the metrics are means over
            seeds.
        mode: "new", "resume" or "measure"; see `Stage`. Resuming a finished run returns its results.
        command: the command that the user typed; it is stored in the run.
        reporter: receives progress messages; by default they are discarded.
        write: whether to write `result.json`.

    Raises:
        FileExistsError: if mode is "new" and the folder holds a run or other files.
        ModuleNotFoundError: if the recipe needs a package that is not installed; nothing has been written then.
        ValueError, TypeError, OSError: as `quickstudy.fit`.
    """
    check_options(options)
    out = options.out or default_folder(recipe, options)
    options = replace(options, out=out)
    world = find_world()
    mode, earlier = world.once(lambda: _mode_and_result(out, mode, write))
    if mode == "resume" and is_measured(earlier):
        return earlier
    _check_packages(recipe, options, mode)
    reporter = reporter if reporter is not None and world.first else Silent()
    stage = Stage(recipe, options, mode, command, reporter, write=write, first=world.first)
    result = _run_seeds(stage) if options.seeds else _run_one(stage)
    if mode == "measure" and earlier:  # time, commit and hardware are those of the training
        result |= {key: earlier[key] for key in ("seconds", "steps", "commit", "hardware") if key in earlier}
    if write:
        world.once(lambda: write_json(out / "result.json", result))
    return result


def reopen(path: Path, method: Path | None = None) -> tuple[str, Options]:
    """The recipe and options of the run at `path`, to be run again.

    Args:
        path: folder of the run.
        method: the file with a method of the user's own, where the run has one. It is code, and anybody may have
            written the run, so it is executed only if the user names it again.

    Raises:
        FileNotFoundError, ValueError: as `recorded`.
        ValueError: if the run has such a method, and `method` is not a file of that name; or the other way round.
    """
    name, options = recorded(path)
    own: Path | None = getattr(options, "method", None)
    if own is None and method is None:
        return name, options
    if own is None:
        raise ValueError(f"{path} has no method of your own; leave --method {method} out")
    if method is None:
        raise ValueError(
            f"{path} was made with a method from {own}; code that a run names is not executed, so name it yourself, if "
            f"you trust it: --method {own}"
        )
    if method.stem != own.stem:
        raise ValueError(f"{path} was made with the method {own.stem!r}; --method {method} is another one")
    changed: Any = {"method": method}
    return name, replace(options, **changed)


def recorded(path: Path) -> tuple[str, Options]:
    """The recipe and options that the run at `path` records. Recipes are looked up in `RECIPES`; no name is imported.

    Raises:
        FileNotFoundError: if there is no run at `path`.
        ValueError: if the run was not made by a recipe of this version, or its options are damaged.
    """
    config, above = read_config(path), path.resolve().parent
    name = config.get("recipe")
    if name is None and (above / "config.json").exists():
        raise ValueError(f"{path} is a part of the run {above}; resume all of it with `quickstudy resume {above}`")
    if name is None:
        raise ValueError(f"{path} was not made by a recipe; give the folder of a run that was")
    if name not in RECIPES:
        raise ValueError(f"{path} was made by a recipe {name!r} that this version lacks; it has {', '.join(RECIPES)}")
    return name, from_json(RECIPES[name].load().Options, config.get("options") or {}, path)


def default_folder(recipe: str, options: Options) -> Path:
    """`runs/RECIPE-seedN`, or `runs/RECIPE-seeds` for several seeds; the name of a data file follows the recipe's.

    >>> from quickstudy.recipes.table.options import Options
    >>> print(default_folder("table", Options(data=Path("my data.csv"), task="who", x=("day",), y=("speed",))))
    runs/table-my-data-seed0
    """
    data = getattr(options, "data", None)
    name = recipe if data is None else f"{recipe}-" + re.sub(r"[^\w.]+", "-", data.stem)
    return Path("runs") / (f"{name}-seeds" if options.seeds else f"{name}-seed{options.seed}")


def check_new(folder: Path) -> None:
    """Raise FileExistsError if `folder` holds a run, or files that quickstudy did not write."""
    if is_run(folder):
        raise FileExistsError(
            f"{folder} already holds a run; continue it with `quickstudy resume {folder}`, or choose another --out"
        )
    if is_foreign(folder):
        raise FileExistsError(f"{folder} exists and is not a run of quickstudy; choose another --out")


def is_measured(result: Mapping[str, Any]) -> bool:
    """Whether a result holds metrics of a recipe, and not only the validation loss, which `fit` writes."""
    return bool(set(result.get("metrics", ())) - {"validation_loss"})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_file(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _mode_and_result(out: Path, mode: Mode, write: bool) -> tuple[Mode, dict[str, Any]]:
    """The mode ("resume" if torchrun has restarted this job), and the result that the run already has."""
    if mode == "new" and (out / "config.json").exists() and is_restart(read_config(out)):
        mode = "resume"
    if mode == "new":
        check_new(out)
    if mode != "measure" or write:
        check_no_links(out)
    return mode, read_result(out)


def _check_packages(recipe: str, options: Options, mode: Mode) -> None:
    """Let a new run's recipe ask for the packages that it needs, before there is a folder that would be in the way."""
    check = getattr(RECIPES[recipe].load(), "check_packages", None)
    if mode == "new" and check is not None:
        check(options)


def _run_one(stage: Stage) -> dict[str, Any]:
    torch.manual_seed(stage.options.seed)
    metrics = RECIPES[stage.recipe].load().run(stage.options, stage)
    return _result(stage, stage.seconds, metrics)


def _run_seeds(stage: Stage) -> dict[str, Any]:
    options = stage.options
    if stage.mode != "measure":
        stage.describe()
    module = RECIPES[stage.recipe].load()
    if hasattr(module, "prepare"):
        module.prepare(options, stage)
    jobs: dict[str, Job] = {}
    for seed in options.seeds:
        own = replace(options, seed=seed, seeds=(), out=stage.folder / f"seed-{seed}")
        prepared = stage.mode == "new" and (stage.folder / f"seed-{seed}" / "config.json").exists()
        arguments = {"mode": "resume" if prepared else stage.mode, "command": stage.command, "write": stage.write}
        jobs[f"seed {seed}"] = partial(_job, stage.recipe, own, arguments)
    at_once = at_a_time(options, len(jobs))
    if at_once > 1:
        stage.say(f"{len(jobs)} seeds, {at_once} at a time")
        results = list(side_by_side(jobs, stage.reporter, at_once).values())
    else:
        results = []
        for name, job in jobs.items():
            stage.say(name)
            results.append(job(stage.reporter))
    metrics = over_seeds([result["metrics"] for result in results])
    gather = getattr(module, "gather", None)
    if gather is not None and stage.first and (stage.mode != "measure" or stage.write):
        gather(options, stage)
    return _result(stage, sum(result["seconds"] for result in results), metrics)


def _job(recipe: str, options: Options, arguments: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """`execute` with the reporter last, as `side_by_side` needs it."""
    return execute(recipe, options, **arguments, reporter=reporter)


def _result(stage: Stage, seconds: float, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {
        "recipe": stage.recipe,
        "command": stage.command,
        "seed": list(stage.options.seeds) or stage.options.seed,
        "steps": stage.options.steps,
        "seconds": round(seconds, 3),
        "commit": stage.commit,
        "hardware": facts.hardware(device(stage.options.device)),
        "metrics": {name: metric.to_json() for name, metric in metrics.items()},
    }
