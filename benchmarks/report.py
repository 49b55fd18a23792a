"""The tables and plots of what is measured so far: results/benchmarks/table.md and *.png, from the JSON beside them.

python -m benchmarks.report
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks import (
    acting,
    environments,
    memory,
    meta_step,
    page,
    planning,
    processes,
    records,
    robots,
    scaleout,
    scaling,
)
from benchmarks.bars import in_words

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLORS = {
    "python loop": "#7f7f7f",
    "higher": "#bcbd22",
    "torchopt": "#8c564b",
    "vmap(grad)": "#9467bd",
    "dense, compiled": "#17becf",
    "JAX jit+vmap": "#ff7f0e",
    "ours, eager": "#9ecae1",
    "ours, compiled": "#3182bd",
    "ours, in fit": "#08519c",
}

SCRIPTS: dict[str, Any] = {
    "Environment steps a second": environments,
    "Robots, with a policy for each task": robots,
    "Acting, and an iteration of MAML-TRPO": acting,
    "Planning": planning,
    "Neural processes": processes,
    "Many processes": scaleout,
    "The page of quickstudy play": page,
}


def markdown(folder: Path) -> str:
    """Every table, with the bars below it."""
    parts = ["# Benchmarks", "Written by `make bench`; see benchmarks/."]
    steps = records.read("meta_step", folder).get("cases", {})
    if steps:
        parts += ["## A whole meta-step: sampling, exact meta-gradient, Adam", _conditions(steps)]
    for case, result in steps.items():
        parts += [f"### {case}", meta_step.as_table(result), _bars(result["bars"])]
    found = records.read("memory", folder).get("cases", {})
    if found:
        parts += ["## Peak memory above the idle process", (memory.__doc__ or "").split("\n\n")[1], _conditions(found)]
        parts += [memory.as_table(found), _bars(memory.bars(found))]
    curves = records.read("scaling", folder).get("cases", {})
    if curves:
        parts += ["## Growth", f"Milliseconds, from {scaling.BASE}.", _conditions(curves)]
    parts += [scaling.as_table(curve, result["points"]) for curve, result in curves.items()]
    for title, script in SCRIPTS.items():
        cases = records.read(script.__name__.split(".")[-1], folder).get("cases", {})
        if cases:
            parts += [f"## {title}", (script.__doc__ or "").split("\n\n")[1], _conditions(cases)]
        for result in cases.values():
            parts += [script.as_table(result), _bars(result["bars"])]
    return "\n\n".join(p for p in parts if p) + "\n"


def _conditions(cases: dict[str, Any]) -> str:
    """Those of the first case, and whether others differ."""
    different = {
        tuple(sorted((k, str(v)) for k, v in c["conditions"].items() if k != "commit")) for c in cases.values()
    }
    first = next(iter(cases.values()))["conditions"]
    words = ", ".join(f"{k} {v}" for k, v in first.items() if v is not None and k not in ("hardware", "commit"))
    return f"{first['hardware']}; {words}." + (" Some cases: see the JSON." if len(different) > 1 else "")


def _bars(bars: list[dict[str, Any]]) -> str:
    rows = [[b["bar"], "" if b["measured"] is None else f"{b['measured']:.2f}", in_words(b)] for b in bars]
    return records.table(["bar", "measured", ""], rows) if rows else ""


def plot_meta_step(cases: dict[str, Any], file: Path) -> None:
    """Times faster than the python loop, one group a case, with the counted floor as a line."""
    figure, axes = plt.subplots(figsize=(max(4.0, 1.5 * len(cases)), 4), layout="constrained")
    names = [n for n in COLORS if any(n in c["contenders"] for c in cases.values())]
    width = 0.9 / len(names)
    for i, name in enumerate(names):
        places, heights = [], []
        for j, case in enumerate(cases.values()):
            own, loop = (case["contenders"].get(n, {}).get("milliseconds") for n in (name, "python loop"))
            if own is not None and loop is not None:
                places.append(j - 0.45 + (i + 0.5) * width)
                heights.append(loop / own)
        axes.bar(places, heights, width, label=name, color=COLORS[name])
    axes.set_xticks(range(len(cases)), cases)
    axes.set_yscale("log")
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set_ylabel("times faster than the python loop")
    axes.legend(fontsize="small", ncols=3)
    _save(figure, file)


def plot_memory(cases: dict[str, Any], file: Path) -> None:
    """Megabytes above idle, by inner steps."""
    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for way in memory.WAYS:
        known = [(c["steps"], c["ways"][way]) for c in cases.values() if "seconds" in c["ways"].get(way, {})]
        known.sort(key=lambda pair: pair[0])
        axes.plot([s for s, _ in known], [r["peak_megabytes"] for _, r in known], marker="o", label=way)
    axes.set(xscale="log", yscale="log", xlabel="inner steps", ylabel="peak memory above idle (MB)")
    axes.legend(fontsize="small")
    _save(figure, file)


def plot_scaling(cases: dict[str, Any], file: Path) -> None:
    """Milliseconds by tasks, width and steps, beside the counted floor."""
    figure, grid = plt.subplots(1, len(cases), figsize=(4 * len(cases), 3.6), layout="constrained", squeeze=False)
    for axes, (curve, result) in zip(grid[0], cases.items(), strict=True):
        points = result["points"]
        for name in dict.fromkeys(n for p in points for n in p["milliseconds"]):
            known = [p for p in points if name in p["milliseconds"]]
            times = [p["milliseconds"][name] for p in known]
            axes.plot([p[curve] for p in known], times, marker="o", label=name, color=COLORS[name])
        axes.plot([p[curve] for p in points], [p["floor"] for p in points], "k--", label="counted floor")
        axes.set(xscale="log", yscale="log", xlabel=curve)
    grid[0][0].set_ylabel("milliseconds")
    grid[0][0].legend(fontsize="small")
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(arguments: list[str]) -> None:
    """Write what there is."""
    folder = Path(arguments[0]) if arguments else records.FOLDER
    plots = {"meta_step": plot_meta_step, "memory": plot_memory, "scaling": plot_scaling}
    for name, plot in plots.items():
        cases = records.read(name, folder).get("cases", {})
        if cases:
            plot(cases, folder / f"{name}.png")
    (folder / "table.md").write_text(markdown(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
