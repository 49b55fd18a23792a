"""Exact beliefs of GridNavi, and the policies on them: against dynamic programming and bounds."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from quickstudy.rl import GridNavi
from quickstudy.rl.envs.references.gridnavi import Tour, play, posterior, prior, told


def every_goal(**options: Any) -> GridNavi:
    torch.set_default_dtype(torch.float64)
    env = GridNavi(**{"num_envs": 1, **options})
    env.set_tasks({"goal": env.goals})
    return env


def best_return(cells: int, horizon: int, episodes: int) -> float:
    """The largest expected return over all policies, by dynamic programming over cells visited, place and time."""
    goals = [(x, y) for x in range(cells) for y in range(cells) if max(x, y) > 1]

    def known(goal: tuple[int, int], place: tuple[int, int], left: int) -> float:
        """The return of going to the goal, in what is left of an episode."""
        away = abs(goal[0] - place[0]) + abs(goal[1] - place[1])
        return sum(1.0 if step >= away else -0.1 for step in range(1, left + 1))

    @lru_cache(None)
    def total(place: tuple[int, int], unseen: frozenset[tuple[int, int]], left: int, more: int) -> float:
        """The sum, over the goals that are unseen, of the return from here."""
        if not unseen or not (left or more):
            return 0.0
        if not left:
            return total((0, 0), unseen, horizon, more - 1)
        found = []
        for dx, dy in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
            new = (min(max(place[0] + dx, 0), cells - 1), min(max(place[1] + dy, 0), cells - 1))
            rest = unseen - {new}
            value = total(new, rest, left - 1, more) - 0.1 * len(rest)
            if new in unseen:
                value += 1 + known(new, new, left - 1) + more * known(new, (0, 0), horizon)
            found.append(value)
        return max(found)

    return total((0, 0), frozenset(goals), horizon, episodes - 1) / len(goals)


@pytest.mark.parametrize(("horizon", "episodes"), [(4, 1), (4, 3), (5, 2), (6, 2), (15, 4)])
def test_no_policy_earns_more_than_the_optimal_tour(horizon: int, episodes: int) -> None:
    env = every_goal(cells=3, horizon=horizon)
    returns = play(Tour.optimal(env), env, episodes)
    assert float(returns.mean((0, 1)).sum()) == pytest.approx(best_return(3, horizon, episodes), abs=1e-9)


def test_a_tour_in_another_order_earns_less() -> None:
    env = every_goal(cells=3, horizon=15)
    tour = Tour(env.goals[torch.tensor([1, 0, 2, 3, 4])])
    assert float(play(tour, env, 4).mean((0, 1)).sum()) < best_return(3, 15, 4) - 0.1


def test_the_returns_on_the_grid_of_five() -> None:
    """4.000 and 11.071, which a dynamic program over all 4 million states gives, too; 37.214 over four episodes."""
    env = every_goal()
    returns = play(Tour.optimal(env), env, 4)[:, 0]
    assert returns.mean(0).tolist() == pytest.approx([4, 155 / 14, 155 / 14, 155 / 14], abs=1e-9)
    assert float(returns.sum(1).mean()) == pytest.approx(521 / 14, abs=1e-9)
    away = env.goals.sum(1)
    straight = 1.0 * (16 - away) - 0.1 * (away - 1)
    informed = play(Tour.optimal(env), env, 4, told(env))[:, 0]
    torch.testing.assert_close(informed, straight[:, None].expand(-1, 4))
    assert float(informed.sum(1).mean()) == pytest.approx(310 / 7, abs=1e-9)  # 44.286


def test_the_first_episode_rules_out_a_cell_at_every_step_and_leaves_a_shortest_path() -> None:
    tour = Tour.optimal(every_goal()).goals
    assert torch.equal(tour.unique(dim=0), every_goal().goals) and len(tour) == 21
    first, rest = tour[:14], tour[14:]
    assert first[0].tolist() == [2, 0] and bool(((first[1:] - first[:-1]).abs().sum(1) == 1).all())
    assert bool((rest[1:] >= rest[:-1]).all())


@pytest.mark.parametrize("cells", [4, 5, 6])
def test_larger_grids_attain_their_bound_if_the_horizon_allows(cells: int) -> None:
    horizon = {4: 15, 5: 15, 6: 25}[cells]
    env = every_goal(cells=cells, horizon=horizon)
    count = len(env.goals)
    returns = play(Tour.optimal(env), env, 2).mean((0, 1))
    bound = 1.1 / count * sum(horizon - t + 1 for t in range(2, min(horizon, count + 1) + 1)) - 0.1 * horizon
    assert returns.tolist() == pytest.approx([bound, float(play(Tour(env.goals), env, 1, told(env)).mean())])


@pytest.mark.parametrize("options", [{"cells": 6}, {"cells": 4, "horizon": 8}, {"horizon": 14}, {"cells": 20}], ids=str)
def test_grids_without_such_a_tour(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="has no tour that rules out a cell at every step"):
        Tour.optimal(GridNavi(**options))


def test_the_belief_is_uniform_over_what_was_not_visited_or_certain() -> None:
    env = GridNavi(num_envs=4)
    env.set_tasks({"goal": env.goals})
    belief, chance = prior(env), torch.Generator().manual_seed(0)
    env.reset()
    visited: list[list[set[tuple[float, ...]]]] = [[set() for _ in range(4)] for _ in range(21)]
    found = 0
    for _ in range(15):
        step = env.step(torch.randint(5, (21, 4), generator=chance))
        belief = posterior(belief, env.goals, step.observation, step.reward)
        for t, goal in enumerate(env.goals.tolist()):
            for e in range(4):
                visited[t][e].add(tuple(step.observation[t, e].tolist()))
                known = tuple(goal) in visited[t][e]
                found += known
                possible = [[tuple(c) not in visited[t][e], c == goal][known] for c in env.goals.tolist()]
                wanted = torch.tensor(possible).float()
                torch.testing.assert_close(belief[t, e], wanted / wanted.sum())
    assert found > 20


def test_environments_of_a_task_keep_beliefs_of_their_own() -> None:
    env = GridNavi(num_envs=2)
    env.set_tasks({"goal": torch.tensor([[0.0, 4.0], [3.0, 1.0]])})
    tour = Tour.optimal(env)
    belief = prior(env)
    belief[:, 1] = told(env)[:, 1]
    returns: Tensor = play(tour, env, 2, belief)
    alone = GridNavi(num_envs=1)
    alone.set_tasks(env.tasks)
    torch.testing.assert_close(returns[:, :1], play(tour, alone, 2))
    torch.testing.assert_close(returns[:, 1:], play(tour, alone, 2, told(alone)))
    assert bool((returns[:, 0, 0] < returns[:, 1, 0]).all())


def test_a_known_goal_is_reached_on_a_shortest_path_and_kept() -> None:
    env = GridNavi(num_envs=1, horizon=10)
    env.set_tasks({"goal": env.goals})
    place, _ = env.reset()
    for count in range(1, 11):
        place = env.step(Tour(env.goals.flip(0)).choose(place, told(env), env.goals)).observation
        away = (env.goals[:, None] - place).abs().sum(-1)
        torch.testing.assert_close(away, (env.goals.sum(1) - count).clamp_min(0)[:, None])
