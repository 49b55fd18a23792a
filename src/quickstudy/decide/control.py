"""Control by a learned model: plan through what is believed of this cart, act, see, believe better."""

from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.models import Learned, Model
from quickstudy.decide.moment import Moment
from quickstudy.decide.planning import Objective, Plan, Planner


class Knowledge(Protocol):
    """What is known of the world, and how it grows."""

    def model(self) -> Model:
        """What to plan with now."""

    def see(self, moment: Moment) -> None:
        """What was done and what came of it."""

    def rest(self) -> None:
        """Between episodes."""


class Known:
    """Knowledge that stays as it is: the true simulator, or a model that never adapts."""

    def __init__(self, model: Model):
        self._model = model

    def model(self) -> Model:
        """The one that was given."""
        return self._model

    def see(self, moment: Moment) -> None:
        """Changes nothing."""

    def rest(self) -> None:
        """Changes nothing."""


class Adapting:
    """A meta-trained learner whose support set is what has been seen of each task so far.

    Args:
        learner: on tasks encoded by `encoding`; left in evaluation mode.
        encoding: as in its training.
        num_tasks: T.
        every: transitions are gathered and told to the predictor so many at a time; 1 tells each as it comes.
        most: transitions of a task to remember; what comes later is forgotten.
        generator: of what the predictor draws.

    Raises:
        ValueError: for counts below 1.
    """

    def __init__(
        self,
        learner: Any,
        encoding: Encoding,
        num_tasks: int,
        *,
        every: int = 1,
        most: int = 1_000_000,
        generator: torch.Generator | None = None,
    ):
        for name, count in (("num_tasks", num_tasks), ("every", every), ("most", most)):
            check_whole(name, count)
        self.encoding, self.every, self.most = encoding, every, most
        self._seen, self._waiting = torch.zeros(num_tasks, dtype=torch.long), list[Examples]()
        learner.eval()
        kind = encoding.state_scale
        nothing = Examples(kind.new_empty(num_tasks, 0, encoding.dx), kind.new_empty(num_tasks, 0, encoding.dy))
        self.predictor = learner.adapt(nothing, generator=generator)

    def model(self) -> Model:
        """The belief about each task by what was seen of it."""
        return Learned(self.predictor, self.encoding)

    def see(self, moment: Moment) -> None:
        """Tell the predictor, unless it knows enough."""
        mask = moment.mask & (self._seen < self.most)
        self._seen += mask
        if not mask.any():
            return
        self._waiting.append(self.encoding.moment(moment._replace(mask=mask)).clean())
        if len(self._waiting) >= self.every:
            self.rest()

    def rest(self) -> None:
        """Tell what waits."""
        if self._waiting:
            x, y, mask = zip(*self._waiting, strict=True)
            self.predictor = self.predictor.append(Examples(torch.cat(x, 1), torch.cat(y, 1), torch.cat(mask, 1)))
            self._waiting.clear()


class Control:
    """Model-predictive control: at every step the first action of a new plan, which starts from the last one.

    Args:
        knowledge: of the world.
        planner: `cross_entropy` or `mppi`.
        objective: what plans are worth.
        generator: of functions and candidates.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        planner: Planner,
        objective: Objective,
        *,
        generator: torch.Generator | None = None,
    ):
        self.knowledge, self.planner, self.objective, self.generator = knowledge, planner, objective, generator
        self._plan: Plan | None = None

    def act(self, state: Tensor) -> Tensor:
        """The best action `[T]` of each task's plan from `state [T, ds]`."""
        model = self.knowledge.model()
        self._plan = self.planner.plan(model, state, self.objective, self._plan, self.generator)
        return self._plan.action

    def see(self, moment: Moment) -> None:
        """Learn of it."""
        self.knowledge.see(moment)

    def rest(self) -> None:
        """Forget the plan; let knowledge rest."""
        self._plan = None
        self.knowledge.rest()
