"""Model-predictive control with a model that is adapted to each task while acting."""

from typing import Any, Protocol

import torch
from torch import Tensor

from quickstudy.checks import check_whole
from quickstudy.data import Examples
from quickstudy.decide.encoding import Encoding
from quickstudy.decide.models import Learned, Model
from quickstudy.decide.moment import Moment
from quickstudy.decide.planning import GaussianPlanner, Objective, Planner


class Knowledge(Protocol):
    """A source of models that can be updated with observed transitions."""

    def model(self) -> Model:
        """The present model, for planning."""

    def see(self, moment: Moment) -> None:
        """Update the knowledge with one transition of each task."""

    def rest(self) -> None:
        """Called after each round of episodes."""


class Known:
    """Knowledge that never changes: a fixed model, such as the true simulator."""

    def __init__(self, model: Model):
        self._model = model

    def model(self) -> Model:
        """The given model."""
        return self._model

    def see(self, moment: Moment) -> None:
        """Do nothing."""

    def rest(self) -> None:
        """Do nothing."""


class Adapting:
    """A meta-trained learner, adapted to all transitions observed in each task so far.

    Args:
        learner: a learner trained on tasks encoded by `encoding`; it is set to evaluation mode.
        encoding: the encoding of the tasks that the learner was trained on.
        num_tasks: T.
        every: append transitions to the support set in groups of this size; 1 appends each at once.
        most: the largest size of a task's support set; later transitions are ignored.
        generator: random numbers for the predictor.

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
        """The model given by the predictor for the support sets so far."""
        return Learned(self.predictor, self.encoding)

    def see(self, moment: Moment) -> None:
        """Append the transitions to the support sets of tasks that have fewer than `most`."""
        mask = moment.mask & (self._seen < self.most)
        self._seen += mask
        if not mask.any():
            return
        self._waiting.append(self.encoding.moment(moment._replace(mask=mask)).clean())
        if len(self._waiting) >= self.every:
            self.rest()

    def rest(self) -> None:
        """Append the transitions that were gathered since the last append."""
        if self._waiting:
            x, y, mask = zip(*self._waiting, strict=True)
            self.predictor = self.predictor.append(Examples(torch.cat(x, 1), torch.cat(y, 1), torch.cat(mask, 1)))
            self._waiting.clear()


class Control:
    """Model-predictive control: every step takes the first action of a new plan, found from the previous plan.

    Args:
        knowledge: provides the model, and is updated with observed transitions.
        planner: a planner, from `cross_entropy` or `mppi`; `space=env.action_space` makes one for the environment.
        objective: the value of plans.
        generator: random numbers for functions and candidates.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        planner: Planner | GaussianPlanner,
        objective: Objective,
        *,
        generator: torch.Generator | None = None,
    ):
        self.knowledge, self.objective, self.generator = knowledge, objective, generator
        self.planner: Any = planner  # each kind starts from its own kind of plan
        self._plan: Any = None

    def act(self, state: Tensor) -> Tensor:
        """The first action of each task's plan from the states `[T, ds]`: integers `[T]`, or real numbers `[T, da]`."""
        model = self.knowledge.model()
        self._plan = self.planner.plan(model, state, self.objective, self._plan, self.generator)
        action: Tensor = self._plan.action
        return action

    def see(self, moment: Moment) -> None:
        """Update the model's knowledge."""
        self.knowledge.see(moment)

    def rest(self) -> None:
        """Drop the plan, and pass the end of the episodes on to the model's knowledge."""
        self._plan = None
        self.knowledge.rest()
