"""Scenes of a visitor's own: runs, saved learners of runs, and models of tables."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.play.functions.built_in import adapter, drawn
from quickstudy.play.functions.scene import Player, Scene, Truth
from quickstudy.report.tables import PARTS
from quickstudy.runs.reading import CheckpointError
from quickstudy.runs.rebuild.families import ForeignFamilyError, from_spec
from quickstudy.tables.kinds.outcome import DISCRETE
from quickstudy.tables.model import FACTS, TableModel

FINE = 481  # inputs at which a hidden function of a family is drawn; between them it is a straight line
NOTE = "Your own learner; its band is what it says about new values."
ABOUT = "Learners of {path}, on points of yours."


def own_scene(path: Path) -> Scene:
    """The scene of a folder: a run of one learner or of several parts, or a model that `quickstudy table` wrote.

    Raises:
        CheckpointError: if there is none.
        ValueError: if its learners are not of one real input and one real outcome, or its inputs have no known range.
    """
    if (path / FACTS).exists():
        return _of_table(path)
    parts = {path.name: path} if _config(path).get("learner") else _parts(path)
    if not parts:
        raise CheckpointError(f"{path} holds no trained learner; give the folder of a run, or of a part of a run")
    family = _family(path, next(iter(parts.values())))
    players = {f"own-{name}": _player(PARTS.get(name, name), qs.load(folder), folder) for name, folder in parts.items()}
    x = tuple(family.domain)
    hidden = _drawn_from(family, x)
    return Scene(
        title=path.name,
        about=ABOUT.format(path=path),
        x=x,
        y=_heights(hidden, x),
        axes=("x", "y"),
        noise=float(noise) if isinstance(noise := getattr(family, "noise", 0.0), int | float) else float(noise[0]),
        sliders=(),
        hidden=hidden,
        players=players,
    )


def _of_table(path: Path) -> Scene:
    """The scene of a table's model with one input and one outcome that is a number."""
    model = TableModel.load(path)
    counted = [kind for kind in model.outcomes if kind in DISCRETE]
    if len(model.x) != 1 or len(model.y) != 1 or counted:
        raise ValueError(
            f"{path} predicts {', '.join(model.y)} from {', '.join(model.x)}; the page shows models with one input "
            "that is a number and one outcome that is a real number"
        )
    player = _player("your table", model.learner, path)
    x = (model.low[0], model.high[0])
    nothing = Examples(torch.zeros(1, 0, 1), torch.zeros(1, 0, 1))
    prior = player.adapt(nothing, None, torch.Generator())(torch.linspace(*x, 21).reshape(1, -1, 1))
    most = prior.interval(0.98)
    about = f"The model of a table, fitted to {model.groups} groups: click the rows of a new group."
    y = (float(most.lower.min()), float(most.upper.max()))
    return Scene(path.name, about, x, y, (model.x[0], model.y[0]), 0.0, (), None, {"own-table": player})


def _parts(path: Path) -> dict[str, Path]:
    """The learners in the folders of a run, by name."""
    folders = sorted(config.parent for config in path.glob("*/config.json")) if path.is_dir() else []
    return {folder.name: folder for folder in folders if _config(folder).get("learner")}


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _family(path: Path, part: Path) -> Any:
    """The family on which a run trained, without observation noise on what is hidden."""
    why = "the page knows the range of x from the family of a run"
    try:
        family = from_spec(_config(part).get("family_spec"))
    except ForeignFamilyError as error:
        raise ValueError(
            f"{path} was trained on {error}, which is not saved; {why}, so give a run on one of qs.tasks"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} does not say on what it was trained ({error}); {why}") from None
    if getattr(family, "dx", 0) != 1 or getattr(family, "dy", 0) != 1 or not hasattr(family, "domain"):
        raise ValueError(f"{path} was trained on {type(family).__name__}; the page shows functions of one variable")
    return family


def _player(title: str, learner: Any, folder: Path) -> Player:
    _check(learner, folder)
    steps = getattr(learner, "steps", None)
    kind = "gradient" if isinstance(steps, int) and steps > 0 else "closed"
    return Player(title, kind, adapter(learner), steps or 0, NOTE, drawn(learner))


def _check(learner: Any, folder: Path) -> None:
    """Raise ValueError unless the learner predicts one real outcome from one real input."""
    one = torch.zeros(1, 1, 1)
    try:
        belief = learner.adapt(Examples(one, one), generator=torch.Generator())(torch.zeros(1, 3, 1))
        fits = belief.mean.shape == (1, 3, 1)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"the learner in {folder} does not predict functions of one variable ({error})") from None
    if not fits:
        raise ValueError(
            f"the learner in {folder} predicts {list(belief.mean.shape)}; expected one outcome of one input"
        )


def _drawn_from(family: Any, x: tuple[float, float]) -> Callable[[Mapping[str, float], int], Truth]:
    """Hidden functions of a family, as straight lines between values on a fine grid."""
    if dataclasses.is_dataclass(family) and "noise" in {field.name for field in dataclasses.fields(family)}:
        family = dataclasses.replace(family, noise=0.0)  # type: ignore[type-var]
    grid = torch.linspace(*x, FINE)

    def hidden(_: Mapping[str, float], seed: int) -> Truth:
        chance = torch.Generator().manual_seed(seed)
        y = family.sample(1, support=0, query=FINE, split="test", generator=chance, grid=True).query.y[0, :, 0]

        def value(at: Tensor) -> Tensor:
            after = torch.searchsorted(grid, at.contiguous()).clamp(1, FINE - 1)
            share = (at - grid[after - 1]) / (grid[after] - grid[after - 1])
            return torch.lerp(y[after - 1], y[after], share.clamp(0, 1))

        return value

    return hidden


def _heights(hidden: Callable[[Mapping[str, float], int], Truth], x: tuple[float, float]) -> tuple[float, float]:
    """Heights that hold most functions of a family."""
    grid = torch.linspace(*x, 51)
    y = torch.cat([hidden({}, seed)(grid) for seed in range(30)])
    low, high = y.min(), y.max()
    margin = 0.15 * float((high - low).clamp_min(1e-6))
    return float(low) - margin, float(high) + margin
