"""GridNavi with exact beliefs: the posterior over goals, and policies that act on it, the Bayes-optimal one too."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from quickstudy.rl.envs.gridnavi import MOVES, GridNavi

Cell = tuple[int, int]


def prior(environment: GridNavi) -> Tensor:
    """The belief before the first step, `[T, E, G]`: the same probability for all of `environment.goals [G, 2]`."""
    count = len(environment.goals)
    return environment.goals.new_full((environment.num_tasks, environment.num_envs, count), 1 / count)


def told(environment: GridNavi) -> Tensor:
    """The belief `[T, E, G]` of someone who is told the goal."""
    goal = environment.tasks["goal"][:, None, None]
    certain = (environment.goals == goal).all(-1).to(goal.dtype)
    return certain.expand(-1, environment.num_envs, -1).clone()


def posterior(belief: Tensor, goals: Tensor, place: Tensor, reward: Tensor) -> Tensor:
    """The belief `[..., G]` after one more step, by Bayes' rule.

    Starting from `prior`, it is uniform over the cells that were not visited, and certain once the goal was found.

    Args:
        belief: probabilities of the goals before the step, `[..., G]`.
        goals: the cells, `[G, 2]`.
        place: the cell after the step, `[..., 2]`.
        reward: the reward of the step, `[...]`, positive on the goal.

    >>> goals = torch.tensor([[2.0, 0.0], [2.0, 1.0], [2.0, 2.0]])
    >>> posterior(torch.full((3,), 1 / 3), goals, goals[0], torch.tensor(-0.1))
    tensor([0.0000, 0.5000, 0.5000])
    >>> posterior(torch.full((3,), 1 / 3), goals, goals[0], torch.tensor(1.0))
    tensor([1., 0., 0.])
    """
    here = (goals == place.unsqueeze(-2)).all(-1)
    belief = belief * (here == (reward > 0).unsqueeze(-1))
    return belief / belief.sum(-1, keepdim=True)


@final
class Tour:
    """Goes to the first cell of a list that may still be the goal, along the row first; stays on a goal it knows.

    Args:
        goals: the cells that may be the goal, `[G, 2]`, in the order in which they are tried.
    """

    def __init__(self, goals: Tensor):
        self.goals = goals

    @classmethod
    def optimal(cls, environment: GridNavi) -> "Tour":
        """A tour whose return over one or more episodes is the largest that any policy can expect.

        Until the goal is found, nothing is learned but which cells it is not, and a step rules out at most one cell.
        A goal that is first met at step t of H brings 1.1 (H - t + 1) - 0.1 H in that episode, and none can be met at
        step 1; so of G goals, the expected return of the first episode is at most 1.1 / G * sum_{t=2}^{min(H, G+1)}
        (H - t + 1) - 0.1 H. That of a later episode is at most that of someone who is told the goal. This tour attains
        both: it visits a new cell at every step from the second on, and what the first episode leaves lies on one
        shortest path from the start, so that in the second episode each of these cells is met as early as can be.

        On the 5x5 grid with 15 steps: 4.000 in the first episode, 11.071 in each later one, 37.214 over 4 episodes;
        `play` on all goals gives exactly these, and `told` 44.286. The tour is found by depth-first search: in
        milliseconds on 5x5, in seconds on 7x7; on larger grids the search may not end.

        Raises:
            ValueError: if this grid and horizon have no such tour.
        """
        cells = [(int(x), int(y)) for x, y in environment.goals.tolist()]
        steps = environment.horizon - 1  # after the first, to (1, 0)
        found = _walk((1, 0), frozenset(cells), steps)
        if found is not None:
            return cls(environment.goals.new_tensor(found))
        raise ValueError(
            f"{environment!r} has no tour that rules out a cell at every step and leaves the rest on one shortest "
            "path; the grids of 3, 4 and 5 cells with their 15 steps have"
        )

    def choose(self, place: Tensor, belief: Tensor, goals: Tensor) -> Tensor:
        """The actions `[...]`.

        Args:
            place: the cells, `[..., 2]`.
            belief: probabilities of the goals, `[..., G]`.
            goals: the cells that `belief` is about, `[G, 2]`.
        """
        order = (self.goals[:, None] == goals).all(-1).to(torch.uint8).argmax(1)
        target = self.goals[(belief[..., order] > 0).to(torch.uint8).argmax(-1)]
        x, y = (target - place).sign().unbind(-1)
        move = torch.stack([x, torch.where(x == 0, y, 0.0)], -1)
        return (goals.new_tensor(MOVES) == move.unsqueeze(-2)).all(-1).to(torch.uint8).argmax(-1)


def play(tour: Tour, environment: GridNavi, episodes: int, belief: Tensor | None = None) -> Tensor:
    """The returns `[T, E, episodes]` of one episode after another, in which the belief is kept.

    With all of `environment.goals` as tasks, their mean over tasks is the exact expected return.

    Args:
        tour: the policy.
        environment: the grid, with its tasks set.
        episodes: number of episodes.
        belief: the belief at first, `[T, E, G]`; None is `prior(environment)`.

    >>> env = GridNavi(num_envs=1)
    >>> env.set_tasks({"goal": env.goals})
    >>> play(Tour.optimal(env), env, 4).mean((0, 1))
    tensor([ 4.0000, 11.0714, 11.0714, 11.0714])
    """
    belief = prior(environment) if belief is None else belief
    goals, returns = environment.goals, []
    for _ in range(episodes):
        place, _ = environment.reset()
        total = torch.zeros_like(place[..., 0])
        for _ in range(environment.horizon):
            step = environment.step(tour.choose(place, belief, goals))
            place, total = step.observation, total + step.reward
            belief = posterior(belief, goals, place, step.reward)
        returns.append(total)
    return torch.stack(returns, -1)


def _walk(place: Cell, left: frozenset[Cell], steps: int) -> list[Cell] | None:
    """An order of the cells `left`: a neighbour at every step, and after `steps` a shortest path from the start."""
    if not left or not steps:
        rest = sorted(left, key=sum)
        ahead = all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(rest))
        return rest if ahead else None
    if len(left) - len(set(map(sum, left))) > steps:  # a shortest path has one cell at each distance from the start
        return None
    for dx, dy in MOVES[1:]:
        new = (place[0] + dx, place[1] + dy)
        if new in left:
            found = _walk(new, left - {new}, steps - 1)
            if found is not None:
                return [new, *found]
    return None
