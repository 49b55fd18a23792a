"""Decisions a second of planning through functions of a Neural Process, for 20 carts planned together.

500 candidates of 25 steps each, in 2 iterations of 250 as the recipe `cartpole-np` plans, or in 5 of 100; every
iteration counts. The model is of the recipe's size; its weights do not matter here. Beside it, planning through the
true physics. One thread: a step is too little to share.

    python -m benchmarks.planning
"""

import sys
from collections.abc import Callable
from typing import Any

import torch

import quickstudy as qs
from benchmarks import records
from benchmarks.bars import Bar, Verdict, lines
from benchmarks.options import Options, parse
from benchmarks.timing import Race
from quickstudy.decide.models import Learned, Simulated
from quickstudy.decide.objective import Balance
from quickstudy.decide.planning import Planner, cross_entropy, mppi
from quickstudy.decide.transitions import Transitions

CASES = ("plan",)
CARTS = 20
BAR = 300.0  # decisions a second, summed over carts
MAIN = "Neural Process, MPPI 2 x 250"
CEM = "Neural Process, cross-entropy 2 x 250"


def planning(model: Any, planner: Planner) -> Callable[[], object]:
    """One decision of every cart, the plan of the last one at hand."""
    draw = torch.Generator().manual_seed(0)
    state = 0.05 * torch.randn(CARTS, 4, generator=draw)
    objective = Balance.cartpole()
    plan = planner.plan(model, state, objective, None, draw)
    return lambda: planner.plan(model, state, objective, plan, draw)


def measure(options: Options) -> dict[str, Any]:
    """Milliseconds of one decision of all carts, and decisions a second, by contender."""
    few = {"horizon": 3, "candidates": 4, "iterations": 2} if options.quick else {}
    family = Transitions(qs.rl.CartPole())
    tasks = family.sample(CARTS, support=50, query=1, generator=torch.Generator().manual_seed(0))
    process = qs.NeuralProcess(family.dx, family.dy, width=32, latent=16, encoder_depth=3, decoder_depth=3).eval()
    learned = Learned(process.adapt(tasks.support), family.encoding)
    true = Simulated(family.env, tasks.info)
    make: dict[str, Callable[[], Callable[[], object]]] = {
        MAIN: lambda: planning(learned, mppi(**few)),
        CEM: lambda: planning(learned, cross_entropy(elites=2 if few else 25, **few)),
        "Neural Process, MPPI 5 x 100": lambda: planning(
            learned, mppi(**(few or {"iterations": 5, "candidates": 100}))
        ),
        "true simulator, MPPI 2 x 250": lambda: planning(true, mppi(**few)),
    }
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    for name in options.chosen(list(make)):
        race.enter(name, make[name]())
    for _ in range(options.rounds):
        race.round()
    medians = race.medians()
    bars = [Bar(f"{name}: at least {BAR:.0f} decisions a second", name, "bar", 1) for name in (MAIN, CEM)]
    judged = [Verdict(bar, CARTS / BAR / medians[bar.contender] if bar.contender in medians else None) for bar in bars]
    return {
        "carts": CARTS,
        "threads": torch.get_num_threads(),
        "contenders": {
            name: {"milliseconds": seconds * 1e3, "decisions_per_second": CARTS / seconds}
            for name, seconds in medians.items()
        },
        "bars": [] if options.quick else [{"bar": v.bar.text, "measured": v.measured, "met": v.met} for v in judged],
    }


def as_table(result: dict[str, Any]) -> str:
    """The contenders."""
    cells = [
        [name, f"{row['milliseconds']:.1f}", f"{row['decisions_per_second']:.0f}"]
        for name, row in result["contenders"].items()
    ]
    return records.table(["", "milliseconds", "decisions a second"], cells)


def main(arguments: list[str]) -> None:
    """Measure, show and write."""
    options = parse(arguments, __doc__, CASES)
    torch.set_num_threads(1)
    result = measure(options)
    records.write_case("planning", options.out, CASES[0], result)
    print(f"\n{as_table(result)}")
    print(lines(result["bars"]))


if __name__ == "__main__":
    main(sys.argv[1:])
