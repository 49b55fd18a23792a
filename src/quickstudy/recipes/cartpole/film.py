"""A cart's life as an animation: the first episode beside the last, acted out again from what was decided."""

from typing import Any, final

from torch import Tensor

from quickstudy.decide.living import Agent, live
from quickstudy.decide.moment import Moment
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.cartpole import carts
from quickstudy.report.animation import animate
from quickstudy.rl.envs.filmed import Filmed

EVERY, RATE = 2, 0.02  # steps to a picture; seconds to a step


@final
class Remembered:
    """Acts as `agent` does, and keeps what it decided."""

    def __init__(self, agent: Agent):
        self.agent, self.actions = agent, list[Tensor]()

    def act(self, state: Tensor) -> Tensor:
        """As the agent."""
        self.actions.append(self.agent.act(state))
        return self.actions[-1]

    def see(self, moment: Moment) -> None:
        """As the agent."""
        self.agent.see(moment)

    def rest(self) -> None:
        """As the agent."""
        self.agent.rest()


@final
class Again:
    """Does once more what was decided."""

    def __init__(self, actions: list[Tensor]):
        self._actions = iter(actions)

    def act(self, state: Tensor) -> Tensor:
        """The next one."""
        return next(self._actions)

    def see(self, moment: Moment) -> None:
        """Learns nothing."""

    def rest(self) -> None:
        """Learns nothing."""


def film(actions: list[Tensor], options: Any, stage: Stage) -> None:
    """The first of the carts that this seed meets, in its first episode and its last."""
    last = options.episodes - 1
    filmed = Filmed(carts.met(options), every=EVERY, episodes={0, last}, shrink=2)
    live(filmed, Again(actions), episodes=options.episodes, generator=carts.starts(options))
    films = {"first episode": filmed.films[0], f"episode {last + 1}": filmed.films[last]}
    animate(stage.folder / "figures" / "cart.gif", films, fps=1 / (EVERY * RATE))
