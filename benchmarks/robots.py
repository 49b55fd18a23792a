"""Steps of HalfCheetah a second in a closed loop, with a policy for each task; medians of one run, by turns.

Policies (2 x 100 ReLUs) that one gradient step made of one policy act on 17 observations each; ours is
`rollout(adapted=...)`, which records everything and starts ended episodes anew. Gymnasium's HalfCheetah-v5 is driven by
the same policies in one batch, with chance drawn beforehand, and nothing is recorded; AsyncVectorEnv is one process for
each environment. "ours, 800 environments" is the size of an update of MAML. All have the machine's threads.

    python -m benchmarks.robots
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from itertools import cycle
from typing import Any

import gymnasium
import torch

import quickstudy as qs
from benchmarks import records
from benchmarks.bars import Bar, Verdict, lines
from benchmarks.options import Options, parse
from benchmarks.timing import Race
from quickstudy.inner.adapted import Adapted
from quickstudy.rl.acting import acting

CASES = ("closed loop",)
OURS, MANY = "ours", "ours, 800 environments"
ASYNC, SYNC = "gymnasium, AsyncVectorEnv", "gymnasium, SyncVectorEnv"
FASTER = 8.0  # bar
STEPS = 20  # of all environments, in each turn of ours


def adapted_policies(tasks: int, envs: int) -> tuple[Any, Adapted, Any]:
    """A policy, what one gradient step made of it in every task, and the environments."""
    torch.manual_seed(0)
    policy, chance = qs.rl.GaussianPolicy(qs.nets.MLP(17, [100, 100], 6), 6), torch.Generator().manual_seed(0)
    env = qs.rl.HalfCheetah("direction", num_envs=envs)
    env.set_tasks(env.sample_tasks(tasks, generator=chance))
    actor = qs.rl.MAMLTRPO(policy, lr=0.1).actor()
    adapted = actor.adapt(qs.rl.rollout(env, policy, generator=chance, restart=True, steps=50)).adapted
    assert adapted is not None
    return policy, adapted, env


def ours(policy: Any, adapted: Adapted, env: Any) -> Callable[[], object]:
    """`STEPS` steps of all environments."""
    chance = torch.Generator().manual_seed(0)
    return lambda: qs.rl.rollout(
        env, policy, adapted=adapted, generator=chance, restart=True, steps=STEPS, keep_unfinished=True
    )


def theirs(policy: Any, adapted: Adapted, env: Any) -> Callable[[], object]:
    """One step of all environments of gymnasium's."""
    act = acting(policy, adapted, adapted.num_tasks)
    observation, _ = env.reset(seed=0)
    shape = (adapted.num_tasks, len(observation) // adapted.num_tasks)
    noise = cycle(policy.noise(torch.zeros(*shape, 12), steps=64, generator=torch.Generator().manual_seed(0)))

    @torch.no_grad()
    def step() -> None:
        nonlocal observation
        outputs = act(torch.from_numpy(observation).float().unflatten(0, shape))
        observation, *_ = env.step(policy.act(outputs, next(noise)).flatten(0, 1).clamp(-1, 1).numpy())

    return step


def measure(options: Options) -> dict[str, Any]:
    """Milliseconds of a step of all, and steps a second, by contender."""
    tasks, envs = (2, 2) if options.quick else (8, 4)
    policy, adapted, env = adapted_policies(tasks, envs)
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    counts: dict[str, tuple[int, int]] = {}  # environments, and steps of a turn
    with ExitStack() as stack:
        for name in options.chosen([OURS, MANY, ASYNC, SYNC]):
            if name == OURS:
                counts[name] = tasks * envs, STEPS
                race.enter(name, ours(policy, adapted, env))
            elif name == MANY:
                many = (3, 2) if options.quick else (40, 20)
                counts[name] = many[0] * many[1], STEPS
                race.enter(name, ours(*adapted_policies(*many)))
            else:
                mode = "async" if name == ASYNC else "sync"
                made = gymnasium.make_vec("HalfCheetah-v5", num_envs=tasks * envs, vectorization_mode=mode)
                stack.callback(made.close)
                counts[name] = tasks * envs, 1
                race.enter(name, theirs(policy, adapted, made))
        for _ in range(options.rounds):
            race.round()
    found = {name: seconds / counts[name][1] for name, seconds in race.medians().items()}
    speed = {name: counts[name][0] / seconds for name, seconds in found.items()}
    bars = [
        Bar(f"{name}: at least {FASTER:.0f}x the steps of AsyncVectorEnv", name, ASYNC, FASTER) for name in (OURS, MANY)
    ]
    judged = [
        Verdict(bar, speed[bar.contender] / speed[ASYNC] if {bar.contender, ASYNC} <= speed.keys() else None)
        for bar in bars
    ]
    return {
        "threads": torch.get_num_threads(),
        "gymnasium": version("gymnasium"),
        "mujoco": version("mujoco"),
        "contenders": {
            name: {
                "environments": counts[name][0],
                "milliseconds": seconds * 1e3,
                "steps_per_second": speed[name],
            }
            for name, seconds in found.items()
        },
        "bars": [] if options.quick else [{"bar": v.bar.text, "measured": v.measured, "met": v.met} for v in judged],
    }


def as_table(result: dict[str, Any]) -> str:
    """The contenders, with ratios to AsyncVectorEnv."""
    rows = result["contenders"]
    beside = rows.get(ASYNC, {}).get("steps_per_second")
    cells = [
        [
            name,
            str(row["environments"]),
            f"{row['milliseconds']:.1f}",
            f"{row['steps_per_second']:,.0f}",
            "" if beside is None else f"{row['steps_per_second'] / beside:.1f}",
        ]
        for name, row in rows.items()
    ]
    head = ["", "environments", "milliseconds a step of all", "steps a second", "times AsyncVectorEnv"]
    return records.table(head, cells)


def main(arguments: list[str]) -> None:
    """Measure, show and write."""
    options = parse(arguments, __doc__, CASES)
    result = measure(options)
    records.write_case("robots", options.out, CASES[0], result)
    print(f"\n{as_table(result)}")
    print(lines(result["bars"]))


if __name__ == "__main__":
    main(sys.argv[1:])
