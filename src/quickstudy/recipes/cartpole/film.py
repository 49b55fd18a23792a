"""An animation of one cart in its first and last episodes, replayed from recorded actions."""

from typing import Any, final

from torch import Tensor

from quickstudy.decide.living import Agent, live
from quickstudy.decide.moment import Moment
from quickstudy.experiments import lives
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.cartpole import carts
from quickstudy.report.animation import animate
from quickstudy.rl.envs.filmed import Filmed

STEPS_PER_FRAME, SECONDS_PER_STEP = 2, 0.02


@final
class Recorded:
    """An agent that acts as `agent` does and records the actions."""

    def __init__(self, agent: Agent):
        self.agent, self.actions = agent, list[Tensor]()

    def act(self, state: Tensor) -> Tensor:
        """Return and record the action of `agent`."""
        self.actions.append(self.agent.act(state))
        return self.actions[-1]

    def see(self, moment: Moment) -> None:
        """Pass the result of the action to `agent`."""
        self.agent.see(moment)

    def rest(self) -> None:
        """Let `agent` train between episodes."""
        self.agent.rest()


@final
class Replayed:
    """An agent that replays recorded actions."""

    def __init__(self, actions: list[Tensor]):
        self._actions = iter(actions)

    def act(self, state: Tensor) -> Tensor:
        """Return the next recorded action."""
        return next(self._actions)

    def see(self, moment: Moment) -> None:
        """Do nothing."""

    def rest(self) -> None:
        """Do nothing."""


def film(actions: list[Tensor], options: Any, stage: Stage) -> None:
    """Write an animation of this seed's first test cart in its first and last episodes."""
    last = options.episodes - 1
    filmed = Filmed(carts.unseen_carts(options), every=STEPS_PER_FRAME, episodes={0, last}, shrink=2)
    live(filmed, Replayed(actions), episodes=options.episodes, generator=lives.initial_states(options))
    films = {"first episode": filmed.films[0], f"episode {last + 1}": filmed.films[last]}
    animate(stage.folder / "figures" / "cart.gif", films, fps=1 / (STEPS_PER_FRAME * SECONDS_PER_STEP))
