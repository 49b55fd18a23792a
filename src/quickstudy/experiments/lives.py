"""What recipes share in which agents act in unseen tasks for some episodes: the tasks, the starts, the returns."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

from quickstudy.chance import Stream, mix
from quickstudy.decide.living import Life
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments import across_seeds
from quickstudy.experiments.stage import Stage
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.tables import PARTS
from quickstudy.rl.environment import EnvironmentTasks

LINEAR_UP_TO = 12  # largest number of episodes that is drawn on a linear axis


def unseen(env: Any, tasks: int, test_seed: int, seed: int) -> EnvironmentTasks:
    """Tasks of the test split, which differ between seeds."""
    return env.sample_tasks(
        tasks, split="test", generator=torch.Generator().manual_seed(mix(test_seed, seed, Stream.EVALUATION))
    )


def initial_states(options: Any) -> torch.Generator:
    """A generator of initial states, which are the same for every method."""
    return torch.Generator().manual_seed(mix(options.test_seed, options.seed, Stream.EVALUATION_NOISE))


def metrics(lives: Mapping[str, Life], first: int) -> dict[str, Metric]:
    """Mean returns over tasks, in each of the `first` episodes and in the last one."""
    found: dict[str, Metric] = {}
    for name, life in lives.items():
        episodes = [e for e in range(1, len(life.returns) + 1) if e <= first or e == len(life.returns)]
        found |= {f"{name}/return/episode={e}": over_tasks(life.returns[e - 1]) for e in episodes}
    return found


def to_json(lives: Mapping[str, Life]) -> dict[str, Any]:
    """Returns, seconds of computation and numbers of decisions of every method, for JSON."""
    return {
        name: {
            "returns": life.returns.tolist(),
            "seconds": [round(s, 2) for s in life.seconds.tolist()],
            "decisions": life.decisions,
        }
        for name, life in lives.items()
    }


def gather(seeds: Sequence[int], stage: Stage, reference: str | None = None) -> dict[str, Life]:
    """Combine all seeds' returns in `evaluation.json`, and return the lives in the tasks of all seeds.

    Args:
        seeds: the seeds of the run.
        stage: the run.
        reference: the method whose return the others are compared with, task by task; see `across_seeds.evaluate`.
    """
    kept = across_seeds.read(stage, "lives", seeds)
    # Every seed has other tasks, so the tasks of all seeds are tasks that are measured once.
    scores = {
        name: torch.cat([torch.tensor(seed[name]["returns"], dtype=torch.float64) for seed in kept], 1).unsqueeze(1)
        for name in kept[0]
    }
    seconds = {name: torch.tensor([seed[name]["seconds"] for seed in kept]).mean(0) for name in kept[0]}
    across_seeds.evaluate(scores, stage, by="episodes", first=1, over_tasks=True, reference=reference)
    return {name: Life(s[:, 0], seconds[name], 0) for name, s in scores.items()}


def figure(
    lives: Mapping[str, Life],
    by: Literal["episodes", "seconds"],
    ylabel: str,
    bounds: tuple[float, float],
) -> Figure:
    """Return against episodes, or seconds of computation, with 95% bands over tasks.

    Args:
        lives: results of the methods, by name.
        by: quantity on the horizontal axis.
        ylabel: label of the vertical axis.
        bounds: the least and the largest possible return.
    """
    series = []
    for name, life in lives.items():
        each = [over_tasks(returns) for returns in life.returns]
        x = list(range(1, len(each) + 1)) if by == "episodes" else life.seconds.tolist()
        series.append(Series(PARTS[name], x, [m.mean for m in each], [m.ci95 for m in each]))
    linear = by == "episodes" and max(len(item.x) for item in series) <= LINEAR_UP_TO
    xlabel = "episode of each task" if by == "episodes" else "seconds of computation, all tasks together"
    drawn = figures.lines(series, xlabel=xlabel, ylabel=ylabel, whole=linear, bounds=bounds)
    if not linear:
        figures.log_scale(drawn.axes[0], "x")
    return drawn
