"""Environment steps a second, without a policy: ours beside gymnasium's own CartPole, interleaved in one run, medians.

4096 environments, each with physics or a goal of its own; gymnasium's are all alike. Actions are drawn beforehand. What
has ended waits, at the same cost; "resetting" starts it anew after every step, as gymnasium's does by itself. One
thread: 4096 numbers are too few to share.

    python -m benchmarks.environments
"""

import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle
from typing import Any

import gymnasium
import numpy as np
import torch

import quickstudy as qs
from benchmarks import records
from benchmarks.bars import Bar, Verdict, lines
from benchmarks.options import Options, parse
from benchmarks.timing import Race

CASES = ("step",)
COUNT = 4096
BAR = 10e6  # steps a second
THEIRS = "gymnasium, CartPole-v1"
CART, POINT = "ours, CartPole", "ours, Navigation2D"
SHARED = "ours, CartPole, 64 tasks of 64"


def ours(env: Any, tasks: int, resetting: bool = False) -> Callable[[], object]:
    """A step of `env`, with actions drawn beforehand."""
    draw = torch.Generator().manual_seed(0)
    env.set_tasks(env.sample_tasks(tasks, generator=draw))
    env.reset(generator=draw)
    shape = (tasks, env.num_envs)
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        drawn = [torch.randint(int(env.action_space.n), shape, generator=draw) for _ in range(16)]
    else:
        drawn = [torch.randn(*shape, *env.action_space.shape, generator=draw) for _ in range(16)]
    actions = cycle(drawn)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if resetting:
            env.reset(terminated | truncated)

    return step


def theirs(count: int) -> Callable[[], object]:
    """A step of gymnasium's vectorised CartPole."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    draw = np.random.default_rng(0)
    actions = cycle([draw.integers(2, size=count) for _ in range(16)])
    return lambda: env.step(next(actions))


def disagreement(count: int) -> float:
    """The largest difference of a step of ours from gymnasium's, in float32, from the same states."""
    env = qs.rl.CartPole.standard(num_envs=count)
    env.set_tasks(env.sample_tasks(1))
    state, _ = env.reset(generator=torch.Generator().manual_seed(0))
    other: Any = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")
    other.reset(seed=0)
    other.state = state[0].T.double().numpy().copy()
    action = torch.arange(count) % 2
    found = env.step(action[None]).observation[0]
    return float((found - torch.from_numpy(other.step(action.numpy())[0])).abs().max())


def measure(options: Options) -> dict[str, Any]:
    """Microseconds of a step of all, and steps a second, by contender."""
    count = 64 if options.quick else COUNT
    side = int(count**0.5)
    make: dict[str, Callable[[], Callable[[], object]]] = {
        THEIRS: lambda: theirs(count),
        CART: lambda: ours(qs.rl.CartPole(num_envs=1), count),
        f"{CART}, resetting": lambda: ours(qs.rl.CartPole(num_envs=1), count, resetting=True),
        SHARED: lambda: ours(qs.rl.CartPole(num_envs=side), side),
        POINT: lambda: ours(qs.rl.Navigation2D(num_envs=1), count),
        f"{POINT}, resetting": lambda: ours(qs.rl.Navigation2D(num_envs=1), count, resetting=True),
    }
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    for name in options.chosen(list(make)):
        race.enter(name, make[name]())
    for _ in range(options.rounds):
        race.round()
    medians = race.medians()
    bars = [Bar(f"{n}: at least {BAR / 1e6:.0f} million steps a second", n, "bar", 1) for n in (CART, POINT)]
    judged = [Verdict(bar, count / BAR / medians[bar.contender] if bar.contender in medians else None) for bar in bars]
    return {
        "environments": count,
        "gymnasium": version("gymnasium"),
        "disagreement": disagreement(count),
        "contenders": {
            name: {"microseconds": seconds * 1e6, "million_steps_per_second": count / seconds / 1e6}
            for name, seconds in medians.items()
        },
        "bars": [] if options.quick else [{"bar": v.bar.text, "measured": v.measured, "met": v.met} for v in judged],
    }


def as_table(result: dict[str, Any]) -> str:
    """The contenders, with ratios to gymnasium's."""
    rows = result["contenders"]
    beside = rows.get(THEIRS, {}).get("microseconds")
    cells = [
        [
            name,
            f"{row['microseconds']:.0f}",
            f"{row['million_steps_per_second']:.2f}",
            "" if beside is None else f"{beside / row['microseconds']:.2f}",
        ]
        for name, row in rows.items()
    ]
    return records.table(["", "microseconds", "million steps a second", "times faster than gymnasium"], cells)


def main(arguments: list[str]) -> None:
    """Measure, show and write."""
    options = parse(arguments, __doc__, CASES)
    torch.set_num_threads(1)
    result = measure(options)
    records.write_case("environments", options.out, CASES[0], result)
    print(f"\n{as_table(result)}")
    print(lines(result["bars"]))


if __name__ == "__main__":
    main(sys.argv[1:])
