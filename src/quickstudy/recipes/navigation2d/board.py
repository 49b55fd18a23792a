"""What navigation recipes are run with: their options, and the boards."""

from dataclasses import dataclass
from typing import Any, Literal

import quickstudy as qs
from quickstudy.experiments.options import Options


@dataclass(frozen=True, kw_only=True)
class Navigation(Options):
    """The authors' settings by default, but for the rates of measuring."""

    steps: int = 100
    """Updates of the policy (100 in the authors' script)."""
    tasks: int = 20
    """Goals in an update."""
    episodes: int = 20
    """Episodes of each goal before every step."""
    width: int = 100
    """Units in each of the policy's two hidden layers."""
    inner_lr: float = 0.5
    """Rate of the inner step (0.5 in the authors' code)."""
    test_lr: tuple[float, ...] = ()
    """Rates of the first, second ... step in measuring; by default the best of five on validation goals."""
    max_kl: float = 0.01
    """Bound of the trust region."""
    board: Literal["maml", "unit"] = "maml"
    """The MAML paper's plane, or the walled unit board with noise and inertia."""
    test_tasks: int = 200
    """Unseen goals to measure on."""
    test_episodes: int = 40
    """Episodes seen before every gradient step when measuring."""
    test_steps: int = 3
    """Gradient steps when measuring, which is done after each of them."""
    test_seed: int = 0
    """Seed of the unseen goals and of the measurement."""
    which: Literal["best", "last"] = "last"
    """Which weights to measure."""


def environment(options: Navigation, episodes: int, *, told: bool = False, device: str = "cpu") -> Any:
    """The board, with the goal among the observations for those who are told."""
    # policies act in [-1, 1] on both boards: an inner rate means the same there
    where: Any = {"num_envs": episodes, "device": device}
    board: Any = qs.rl.Navigation2D(**where)
    if options.board == "unit":
        board = qs.rl.Navigation2D.unit_board(scaled=True, **where)
    return qs.rl.Informed(board, ("goal",)) if told else board
