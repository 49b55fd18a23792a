"""Options and environments of the navigation recipes."""

from dataclasses import dataclass
from typing import Any, Literal

import quickstudy as qs
from quickstudy.experiments.options import Options

HORIZON = 100  # steps until an episode is truncated


@dataclass(frozen=True, kw_only=True)
class Navigation(Options):
    """Options of all navigation recipes. The defaults are the authors', except for the learning rates at test time."""

    steps: int = 100
    """Updates of the policy (100 in the authors' script)."""
    tasks: int = 20
    """Goals in an update."""
    episodes: int = 20
    """Episodes collected for each goal before every gradient step."""
    width: int = 100
    """Units in each of the policy's two hidden layers."""
    inner_lr: float = 0.5
    """Learning rate of the inner gradient step (0.5 in the authors' code)."""
    test_lr: tuple[float, ...] = ()
    """Learning rates of the gradient steps at test time, in order; by default chosen on validation goals."""
    test_factors: tuple[float, ...] = (2.0, 1.0, 0.5, 0.2, 0.1)
    """Multiples of --inner-lr among which the learning rates at test time are chosen."""
    max_kl: float = 0.01
    """Largest KL divergence of an update (the trust region of TRPO)."""
    board: Literal["maml", "unit"] = "maml"
    """Board: the MAML paper's plane (maml), or the walled unit board with noise and inertia (unit)."""
    test_tasks: int = 200
    """Unseen goals to measure on."""
    test_episodes: int = 40
    """Episodes collected for each unseen goal before every gradient step."""
    test_steps: int = 3
    """Gradient steps on each unseen goal; the return is measured after every one of them."""
    test_seed: int = 0
    """Seed of the unseen goals and of the episodes on them."""
    which: Literal["best", "last"] = "last"
    """Weights to measure: the best on the validation goals, or the last."""


def environment(options: Navigation, episodes: int, *, sees_goal: bool = False, device: str = "cpu") -> Any:
    """The environment; `sees_goal` adds the goal to the observations."""
    # Actions are in [-1, 1] on both boards, so that the same inner learning rate suits both.
    arguments: Any = {"num_envs": episodes, "horizon": HORIZON, "device": device}
    board: Any = qs.rl.Navigation2D(**arguments)
    if options.board == "unit":
        board = qs.rl.Navigation2D.unit_board(scaled=True, **arguments)
    return qs.rl.Informed(board, ("goal",)) if sees_goal else board
