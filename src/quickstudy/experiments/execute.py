"""Running, resuming and re-measuring a recipe, for one seed or several."""

import json
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

    Started by `torchrun`, all processes train each learner together and measure what the first one writes down.

    Args:
        recipe: a name in `quickstudy.recipes.RECIPES`.
        options: of its kind. With `seeds`, each runs in its own folder, and the metrics are means over them.
        mode: "new", "resume" or "measure"; see `Stage`. A finished run is returned as it is when resumed.
        command: what the user typed, kept in the run.
        reporter: whom to tell; by default nobody.
        write: False leaves `result.json` as it is.

    Raises:
        FileExistsError: if mode is "new" and the folder holds anything.
        ValueError, TypeError, OSError: as `quickstudy.fit`.
    """
    check_options(options)
    out = options.out or default_folder(recipe, options)
    options = replace(options, out=out)
    world = find_world()
    mode, earlier = world.once(lambda: _look(out, mode, write))
    if mode == "resume" and is_measured(earlier):
        return earlier
    reporter = reporter if reporter is not None and world.first else Silent()
    stage = Stage(recipe, options, mode, command, reporter, write=write, first=world.first)
    result = _several(stage) if options.seeds else _one(stage)
    if mode == "measure" and earlier:  # measuring anew changes neither how long training took nor where it was done
        result |= {key: earlier[key] for key in ("seconds", "steps", "commit", "hardware") if key in earlier}
    if write:
        world.once(lambda: write_json(out / "result.json", result))
    return result


def reopen(path: Path) -> tuple[str, Options]:
    """The recipe and options of the run at `path`. The name is looked up in the table, and nowhere else.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if it was not made by a recipe.
    """
    config, above = read_config(path), path.resolve().parent
    name = config.get("recipe")
    if name is None and (above / "config.json").exists():
        raise ValueError(f"{path} is a part of the run {above}; `quickstudy resume {above}` goes on with all of it")
    if name is None:
        raise ValueError(f"{path} was not made by a recipe; name a run that was")
    if name not in RECIPES:
        raise ValueError(f"{path} was made by a recipe {name!r} that this version lacks; it has {', '.join(RECIPES)}")
    return name, from_json(RECIPES[name].load().Options, config.get("options") or {}, path)


def default_folder(recipe: str, options: Options) -> Path:
    """`runs/RECIPE-seedN`, or `runs/RECIPE-seeds` for several."""
    return Path("runs") / (f"{recipe}-seeds" if options.seeds else f"{recipe}-seed{options.seed}")


def check_new(folder: Path) -> None:
    """Raise FileExistsError if there is a run in `folder`, or anything else that is not quickstudy's."""
    if is_run(folder):
        raise FileExistsError(
            f"{folder} holds a run already; go on with it by `quickstudy resume {folder}` or choose another --out"
        )
    if is_foreign(folder):
        raise FileExistsError(f"{folder} exists and is not a run of quickstudy; choose another --out")


def is_measured(result: Mapping[str, Any]) -> bool:
    """Whether a result is a recipe's, and not only what `fit` leaves: the loss on validation tasks."""
    return bool(set(result.get("metrics", ())) - {"validation_loss"})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file, all or nothing."""
    write_file(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _look(out: Path, mode: Mode, write: bool) -> tuple[Mode, dict[str, Any]]:
    """The mode, and the result that is there. A job that torchrun has restarted goes on with what it had begun."""
    if mode == "new" and (out / "config.json").exists() and is_restart(read_config(out)):
        mode = "resume"
    if mode == "new":
        check_new(out)
    if mode != "measure" or write:
        check_no_links(out)
    return mode, read_result(out)


def _one(stage: Stage) -> dict[str, Any]:
    torch.manual_seed(stage.options.seed)
    metrics = RECIPES[stage.recipe].load().run(stage.options, stage)
    return _result(stage, stage.seconds, metrics)


def _several(stage: Stage) -> dict[str, Any]:
    options = stage.options
    if stage.mode != "measure":
        stage.describe()
    module = RECIPES[stage.recipe].load()
    if hasattr(module, "prepare"):
        module.prepare(options, stage)
    jobs: dict[str, Job] = {}
    for seed in options.seeds:
        alone = replace(options, seed=seed, seeds=(), out=stage.folder / f"seed-{seed}")
        prepared = stage.mode == "new" and (stage.folder / f"seed-{seed}" / "config.json").exists()
        how = {"mode": "resume" if prepared else stage.mode, "command": stage.command, "write": stage.write}
        jobs[f"seed {seed}"] = partial(_job, stage.recipe, alone, how)
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


def _job(recipe: str, options: Options, how: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """`execute`, as `side_by_side` calls it."""
    return execute(recipe, options, **how, reporter=reporter)


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
