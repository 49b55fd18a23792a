"""An animation of one cart: its first episode beside its last, replayed from the recorded actions."""

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
    """An agent that records the actions of `agent`."""

    def __init__(self, agent: Agent):
        self.agent, self.actions = agent, list[Tensor]()

    def act(self, state: Tensor) -> Tensor:
        """As `agent` does."""
        self.actions.append(self.agent.act(state))
        return self.actions[-1]

    def see(self, moment: Moment) -> None:
        """As `agent` does."""
        self.agent.see(moment)

    def rest(self) -> None:
        """As `agent` does."""
        self.agent.rest()


@final
class Again:
    """An agent that replays recorded actions."""

    def __init__(self, actions: list[Tensor]):
        self._actions = iter(actions)

    def act(self, state: Tensor) -> Tensor:
        """The next recorded action."""
        return next(self._actions)

    def see(self, moment: Moment) -> None:
        """Learns nothing."""

    def rest(self) -> None:
        """Learns nothing."""


def film(actions: list[Tensor], options: Any, stage: Stage) -> None:
    """Film the first test cart of this seed in its first and last episodes."""
    last = options.episodes - 1
    filmed = Filmed(carts.met(options), every=EVERY, episodes={0, last}, shrink=2)
    live(filmed, Again(actions), episodes=options.episodes, generator=carts.starts(options))
    films = {"first episode": filmed.films[0], f"episode {last + 1}": filmed.films[last]}
    animate(stage.folder / "figures" / "cart.gif", films, fps=1 / (EVERY * RATE))
