"""Neural processes: a training step, joint samples, points that arrive one by one, and large support sets.

The transformer beside `TNP` is the one of the published code: one mask over support and query points, which all run
through every layer. It has the same width, layers, heads and feed-forward units. The ConvCNP beside ours is that of the
package neuralprocesses, with the same grid, channels, levels and kernel; where it is not installed, it is left out.

    python -m benchmarks.processes [--case train-50]
"""

import resource
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import quickstudy as qs
from benchmarks import records
from benchmarks.bars import Bar, Verdict, lines
from benchmarks.options import Options, parse
from benchmarks.timing import Race, seconds

CASES = ("train-50", "train-500", "convolution", "autoregressive", "append", "large")
DENSE, OURS, PACKAGE = "dense mask", "ours", "neuralprocesses"
TASKS = 16


class DenseMask(nn.Module):
    """A TNP as one encoder over all points, with a mask that hides the query points."""

    def __init__(self, width: int = 64, depth: int = 6, heads: int = 4, hidden: int = 128):
        super().__init__()
        self.embed = qs.nets.MLP(2, [width] * 3, width)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.last = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, support: qs.Examples, x: Tensor) -> Tensor:
        """Mean and raw scale at `x [T, M, 1]`."""
        pairs = torch.cat([support.x, support.y], -1), torch.cat([x, torch.zeros_like(x)], -1)
        count, total = support.num_points, support.num_points + x.shape[1]
        hidden = torch.zeros(total, total, dtype=torch.bool)
        hidden[:, count:] = True
        return self.last(self.encoder(self.embed(torch.cat(pairs, 1)), mask=hidden)[:, count:])

    def meta_loss(self, tasks: qs.Tasks) -> Tensor:
        """The mean negative log-likelihood of the query points."""
        belief = qs.heads.GaussianHead()(self(tasks.support, tasks.query.x), 1)
        return -belief.log_prob(tasks.query.y).mean()


def raced(steps: dict[str, Callable[[], object]], options: Options) -> dict[str, float]:
    """Median seconds of each step, all in turn."""
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    for name in options.chosen(list(steps)):
        race.enter(name, steps[name])
    for _ in range(race.number_of_rounds()):
        race.round()
    return {**{name: race.once[name] for name in race.once}, **race.medians()}


def step_of(process: nn.Module, tasks: qs.Tasks) -> Callable[[], object]:
    """The loss and its gradient."""

    def step() -> None:
        process.zero_grad()
        process.meta_loss(tasks).backward()  # type: ignore[operator]

    return step


def training(points: int, factor: float, options: Options) -> dict[str, Any]:
    """A training step of 16 tasks, half of the points in the support sets; other processes for comparison."""
    half = 4 if options.quick else points // 2
    tasks = qs.tasks.GaussianProcess().sample(TASKS, support=half, query=half)
    makers: dict[str, Callable[[], nn.Module]] = {
        DENSE: DenseMask,
        OURS: qs.TNP,
        "IncTNP": qs.IncTNP,
        "LBANP": qs.LBANP,
        "AttentiveCNP": qs.AttentiveCNP,
        "ConvCNP": qs.ConvCNP,
        "CNP": qs.CNP,
    }
    medians = raced({name: step_of(make(), tasks) for name, make in makers.items()}, options)
    return summary(medians, [Bar(f"at least {factor}x faster than the dense mask", OURS, DENSE, factor)], options)


def convolution(options: Options) -> dict[str, Any]:
    """A training step and a prediction of ConvCNP, 16 tasks with 25 support and 25 query points."""
    points = 4 if options.quick else 25
    tasks = qs.tasks.GaussianProcess().sample(TASKS, support=points, query=points)
    own = qs.ConvCNP(domain=(-2, 2), points_per_unit=64, channels=64, levels=6, kernel=5)

    def predict() -> Tensor:
        with torch.no_grad():
            mean: Tensor = own.adapt(tasks.support)(tasks.query.x).mean
        return mean

    steps: dict[str, Callable[[], object]] = {OURS: step_of(own, tasks), f"{OURS}, a prediction": predict}
    try:
        from benchmarks.contenders import neuralprocesses_package as package
    except ImportError as error:
        print(f"neuralprocesses is left out: {error.name} is not installed")
    else:
        theirs = package.conv_cnp(64, 64, 6, 5)
        steps[PACKAGE] = package.training_step(theirs, tasks)
        steps[f"{PACKAGE}, a prediction"] = package.prediction(theirs, tasks)
    bar = Bar("at least 3x faster than the package neuralprocesses", OURS, PACKAGE, 3)
    return summary(raced(steps, options), [bar], options)


def joint_samples(options: Options) -> dict[str, Any]:
    """50 joint samples of 100 query points after 50 support points; beside it, all are encoded again for each."""
    samples, points, support = (2, 3, 4) if options.quick else (50, 100, 50)
    tasks = qs.tasks.GaussianProcess().sample(1, support=support, query=points)
    dense, process = DenseMask().eval(), qs.IncTNP().eval()

    def again() -> None:
        known = qs.Examples(*(part.repeat(samples, 1, 1) for part in tasks.support[:2]))
        with torch.no_grad():
            for m in range(points):
                x = tasks.query.x[:, [m]].repeat(samples, 1, 1)
                mean, raw = dense(known, x).chunk(2, -1)
                known = known.append(qs.Examples(x, mean + nn.functional.softplus(raw) * torch.randn_like(mean)))

    joint = process.adapt(tasks.support).autoregressive(order="given", samples=1)
    steps = {"one full pass for each point": again, OURS: lambda: joint(tasks.query.x).sample(samples)}
    text = "at least 15x faster than one full pass for each point"
    return summary(raced(steps, options), [Bar(text, OURS, "one full pass for each point", 15)], options)


def appending(options: Options) -> dict[str, Any]:
    """One point after another is appended to a support set of 10 to 10,000."""
    found: dict[str, float] = {}
    for count in (4, 8) if options.quick else (10, 100, 1_000, 10_000):
        tasks = qs.tasks.Sinusoid().sample(1, support=count, query=1)
        for name, process in (("CNP", qs.CNP()), ("ConvCNP", qs.ConvCNP(domain=(-5, 5))), ("IncTNP", qs.IncTNP())):
            if name == "IncTNP" and count > 1_000:
                continue
            with torch.no_grad():
                states = [process.append(process.encode(tasks.support), tasks.query)]
                once = partial(append_one, process, states, tasks.query)
                found[f"{name}, after {count}"] = statistics.median(seconds(once) for _ in range(options.rounds * 5))
    return summary(found, [], options)


def append_one(process: Any, states: list[Any], examples: qs.Examples) -> None:
    """Replace the state in `states` by the one after `examples`."""
    states[0] = process.append(states[0], examples)


def large(options: Options) -> dict[str, Any]:
    """10,000 support points and 1,000 query points of one task, from encoding to the belief.

    The peak of memory counts only if this case runs alone, as memory that was used before is used again.
    """
    support, query = (40, 10) if options.quick else (10_000, 1_000)
    tasks = qs.tasks.Sinusoid().sample(1, support=support, query=query)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps: dict[str, Callable[[], object]] = {}
    for name, process in (("CNP", qs.CNP()), ("LBANP", qs.LBANP()), ("ConvCNP", qs.ConvCNP(domain=(-5, 5)))):

        def step(process: Any = process) -> Tensor:
            with torch.no_grad():
                mean: Tensor = process.adapt(tasks.support)(tasks.query.x).mean
            return mean

        steps[name] = step
    medians = raced(steps, options)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bars = [Bar(f"{name}: at most 1 second", name, "one second", 1, faster=False) for name in steps]
    found = summary({**medians, "one second": 1.0}, bars, options)
    return {**found, "peak_memory_mib": (after - before) / 1024}


def summary(medians: dict[str, float], bars: list[Bar], options: Options) -> dict[str, Any]:
    """Milliseconds by contender, and each bar with its ratio."""
    judged = []
    for bar in bars:
        both = bar.contender in medians and bar.beside in medians
        slow, fast = (bar.beside, bar.contender) if bar.faster else (bar.contender, bar.beside)
        judged.append(Verdict(bar, medians[slow] / medians[fast] if both else None))
    return {
        "threads": torch.get_num_threads(),
        "contenders": {name: {"milliseconds": value * 1e3} for name, value in medians.items()},
        "bars": [] if options.quick else [{"bar": v.bar.text, "measured": v.measured, "met": v.met} for v in judged],
    }


MEASURES: dict[str, Callable[[Options], dict[str, Any]]] = {
    "train-50": lambda options: training(50, 1.25, options),
    "train-500": lambda options: training(500, 3.0, options),
    "convolution": convolution,
    "autoregressive": joint_samples,
    "append": appending,
    "large": large,
}


TITLES = {
    "train-50": "a training step of 16 tasks with 25 support and 25 query points",
    "train-500": "a training step of 16 tasks with 250 support and 250 query points",
    "convolution": "a training step of ConvCNP, 16 tasks with 25 support and 25 query points",
    "autoregressive": "50 joint samples of 100 points, after 50 support points",
    "append": "one more point",
    "large": "10,000 support points, 1,000 query points",
}


def as_table(result: dict[str, Any]) -> str:
    """The contenders."""
    cells = [[name, f"{row['milliseconds']:.2f}"] for name, row in result["contenders"].items()]
    return records.table([result["title"], "milliseconds"], cells)


def main(arguments: list[str]) -> None:
    """Measure, show and write, case by case."""
    options = parse(arguments, __doc__, CASES)
    for case in options.cases:
        result = {"title": TITLES[case], **MEASURES[case](options)}
        records.write_case("processes", options.out, case, result)
        print(f"\n{case}\n{as_table(result)}")
        print(lines(result["bars"]))


if __name__ == "__main__":
    main(sys.argv[1:])
