"""Acting by policies that were adapted to each task, and a whole iteration of MAML-TRPO; medians of one run.

"policies": 20 tasks with 20 CartPoles each act by 20 policies (2 x 100 ReLUs) after one gradient step. Ours is
`rollout(adapted=...)`, every task with physics of its own, recording all and starting ended episodes anew. Gymnasium's
environments are driven by the same policies in one batch, with chance drawn beforehand, and nothing is recorded;
AsyncVectorEnv is one process for each of the 400 environments.
"iteration": 20 goals of 2-D navigation, 20 episodes of 100 steps before and after the inner step, from the initial
weights every time; the pieces are timed by turns with the whole.

    python -m benchmarks.acting
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from itertools import cycle
from typing import Any
from unittest import mock

import gymnasium
import torch

import quickstudy as qs
from benchmarks import records
from benchmarks.bars import Bar, Verdict, lines
from benchmarks.options import Options, parse
from benchmarks.timing import Race
from quickstudy.inner.adapted import Adapted
from quickstudy.rl.acting import acting
from quickstudy.rl.practice import Practice
from quickstudy.rl.trust_region import trust_region_step

CASES = ("policies", "iteration")
OURS = "ours"
THEIRS = {
    "gymnasium, AsyncVectorEnv": "async",
    "gymnasium, SyncVectorEnv": "sync",
    "gymnasium, its vectorised CartPole": "vector_entry_point",
}
ASYNC = next(iter(THEIRS))
FASTER, SECONDS = 60.0, 2.0  # bars
ROLLOUTS, ADAPTING, JUDGING = "rollouts", "inner adaptation, for the rollouts", "baselines and advantages"
GRADIENT, PRODUCTS, SEARCH = "outer gradient and linearisation", "conjugate gradients", "line search"
REST = "everything else"


def learned_policies(tasks: int, envs: int) -> tuple[Any, Adapted, Any]:
    """A policy, what one gradient step made of it in every task, and the environments."""
    torch.manual_seed(0)
    policy, chance = qs.rl.CategoricalPolicy(qs.nets.MLP(4, [100, 100], 2)), torch.Generator().manual_seed(0)
    env = qs.rl.CartPole(num_envs=envs)
    env.set_tasks(env.sample_tasks(tasks, generator=chance))
    actor = qs.rl.MAMLTRPO(policy, lr=0.1).actor()
    adapted = actor.adapt(actor.rollout(env, generator=chance)).adapted
    assert adapted is not None
    return policy, adapted, env


def ours(policy: Any, adapted: Adapted, env: Any, steps: int) -> Callable[[], object]:
    """So many steps of all environments."""
    chance = torch.Generator().manual_seed(0)
    return lambda: qs.rl.rollout(env, policy, adapted=adapted, generator=chance, restart=True, steps=steps)


def theirs(policy: Any, adapted: Adapted, env: Any) -> Callable[[], object]:
    """One step of all environments of gymnasium's."""
    act = acting(policy, adapted, adapted.num_tasks)
    observation, _ = env.reset(seed=0)
    shape = (adapted.num_tasks, len(observation) // adapted.num_tasks)
    noise = cycle(policy.noise(torch.zeros(*shape, 2), steps=64, generator=torch.Generator().manual_seed(0)))

    @torch.no_grad()
    def step() -> None:
        nonlocal observation
        outputs = act(torch.from_numpy(observation).unflatten(0, shape))
        observation, *_ = env.step(policy.act(outputs, next(noise)).flatten().numpy())

    return step


def policies(options: Options) -> dict[str, Any]:
    """Environment steps a second, by contender."""
    tasks, envs, steps = (2, 2, 10) if options.quick else (20, 20, 100)
    count = tasks * envs
    policy, adapted, env = learned_policies(tasks, envs)
    race = Race(budget=options.budget, rounds=options.rounds, limit=options.limit)
    with ExitStack() as stack:
        for name in options.chosen([OURS, *THEIRS]):
            if name == OURS:
                race.enter(name, ours(policy, adapted, env, steps))
                continue
            made = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode=THEIRS[name])
            stack.callback(made.close)
            race.enter(name, theirs(policy, adapted, made))
        for _ in range(options.rounds):
            race.round()
    found = {name: seconds / (steps if name == OURS else 1) for name, seconds in race.medians().items()}
    bar = Bar(f"at least {FASTER:.0f}x the steps of AsyncVectorEnv", OURS, ASYNC, FASTER)
    ratio = found[ASYNC] / found[OURS] if {OURS, ASYNC} <= found.keys() else None
    return {
        "tasks": tasks,
        "environments": count,
        "gymnasium": version("gymnasium"),
        "contenders": {
            name: {"milliseconds": seconds * 1e3, "steps_per_second": count / seconds}
            for name, seconds in found.items()
        },
        "bars": [] if options.quick else [_judged(Verdict(bar, ratio))],
    }


class Pieces:
    """Where the time of an iteration goes: the same calls as `learner.update` makes, each timed."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((ROLLOUTS, ADAPTING, JUDGING, GRADIENT, PRODUCTS, SEARCH), 0.0)
        self._last = time.perf_counter()

    def add(self, name: str | None) -> None:
        """What has passed since the last call goes to `name`."""
        now = time.perf_counter()
        if name is not None:
            self.seconds[name] += now - self._last
        self._last = now

    def practise(self, learner: Any, env: Any, chance: torch.Generator) -> Practice:
        """As `learner.practise`."""
        actor, episodes = learner.actor(), []
        for k in range(learner.steps + 1):
            self.add(None)
            _ = actor.adapted  # made when it is first asked for
            self.add(ADAPTING)
            episodes.append(actor.rollout(env, generator=chance))
            self.add(ROLLOUTS)
            actor = actor.adapt(episodes[k])
            self.add(JUDGING)
        return Practice(tuple(episodes), actor.stages)

    def step(self, learner: Any, practice: Practice) -> Any:
        """As `learner.step`; what its call of `trust_region_step` asks for says how far that is."""

        def watched(parameters: Any, loss: Any, kl: Any, *, linearise: Any, **options: Any) -> Any:
            searching = False

            def near(parameters: Any) -> Any:
                found = linearise(parameters)
                self.add(GRADIENT)
                return found

            def look() -> Any:
                nonlocal searching
                if not searching:
                    searching = True
                    self.add(PRODUCTS)
                return loss()

            self.add(None)
            found = trust_region_step(parameters, look, kl, linearise=near, **options)
            self.add(SEARCH if searching else PRODUCTS)
            return found

        with mock.patch("quickstudy.rl.maml_trpo.trust_region_step", watched):
            return learner.step(practice)


def navigation(quick: bool) -> tuple[Any, Any]:
    """The learner and the environments of the recipe `navigation2d-maml`."""
    torch.manual_seed(0)
    tasks, episodes, horizon, width = (2, 2, 5, 8) if quick else (20, 20, 100, 100)
    env = qs.rl.Navigation2D(num_envs=episodes, horizon=horizon)
    env.set_tasks(env.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [width, width], 2), 2)
    return qs.rl.MAMLTRPO(policy, lr=0.5, steps=1, max_kl=0.01), env


def iteration(options: Options) -> dict[str, Any]:
    """Seconds of a whole iteration, and of its pieces."""
    learner, env = navigation(options.quick)
    began = {k: v.clone() for k, v in learner.state_dict().items()}
    wholes: list[float] = []
    pieces: list[dict[str, float]] = []
    told: dict[str, float] = {}
    for turn in range(options.rounds + 1):
        learner.load_state_dict(began)
        start = time.perf_counter()
        told = learner.update(env, generator=torch.Generator().manual_seed(1))
        whole = time.perf_counter() - start
        learner.load_state_dict(began)
        watch, start = Pieces(), time.perf_counter()
        watch.step(learner, watch.practise(learner, env, torch.Generator().manual_seed(1)))
        rest = time.perf_counter() - start - sum(watch.seconds.values())
        if turn:  # the first is to warm up
            wholes.append(whole)
            pieces.append({**watch.seconds, REST: rest})
        if sum(wholes) > 20 * options.budget:
            break
    seconds = statistics.median(wholes)
    bar = Bar(f"a whole iteration in at most {SECONDS:.1f} s", "iteration", "seconds", SECONDS, False)
    return {
        "seconds": seconds,
        "rounds": len(wholes),
        "transitions": told["transitions"],
        "backtracks": told["backtracks"],
        "pieces": {name: statistics.median(p[name] for p in pieces) for name in pieces[0]},
        "bars": [] if options.quick else [_judged(Verdict(bar, seconds))],
    }


def _judged(verdict: Verdict) -> dict[str, Any]:
    return {"bar": verdict.bar.text, "measured": verdict.measured, "met": verdict.met}


def as_table(result: dict[str, Any]) -> str:
    """The contenders, with ratios to AsyncVectorEnv; or the pieces of an iteration."""
    if "pieces" in result:
        pieces = result["pieces"]
        cells = [["a whole iteration of MAML-TRPO", f"{result['seconds'] * 1e3:.0f}", ""]]
        cells += [[name, f"{s * 1e3:.0f}", f"{100 * s / sum(pieces.values()):.0f}%"] for name, s in pieces.items()]
        return records.table(["", "milliseconds", "share"], cells)
    rows = result["contenders"]
    beside = rows.get(ASYNC, {}).get("steps_per_second")
    cells = [
        [
            name,
            f"{row['milliseconds']:.2f}",
            f"{row['steps_per_second']:,.0f}",
            "" if beside is None else f"{row['steps_per_second'] / beside:.1f}",
        ]
        for name, row in rows.items()
    ]
    return records.table(["", "ms for a step of all", "steps a second", "times AsyncVectorEnv"], cells)


def main(arguments: list[str]) -> None:
    """Measure, show and write."""
    options = parse(arguments, __doc__, CASES)
    for case in options.cases:
        result = policies(options) if case == "policies" else iteration(options)
        records.write_case("acting", options.out, case, result)
        print(f"\n{as_table(result)}")
        print(lines(result["bars"]))


if __name__ == "__main__":
    main(sys.argv[1:])
