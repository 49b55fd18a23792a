"""The cross-entropy method and MPPI, for discrete and for continuous actions."""

from typing import Any, overload

from gymnasium import Space
from gymnasium.spaces import Box, Discrete

from quickstudy.decide.planning.discrete import Planner
from quickstudy.decide.planning.gaussian import GaussianPlanner
from quickstudy.decide.planning.weights import Elites, Softmax


@overload
def cross_entropy(*, elites: int = 25, space: Discrete | None = None, **options: Any) -> Planner: ...
@overload
def cross_entropy(*, elites: int = 25, space: Box, **options: Any) -> GaussianPlanner: ...
@overload
def cross_entropy(*, elites: int = 25, space: Space[Any], **options: Any) -> Planner | GaussianPlanner: ...
def cross_entropy(*, elites: int = 25, space: Space[Any] | None = None, **options: Any) -> Planner | GaussianPlanner:
    """The cross-entropy method (Rubinstein 1999; De Boer et al. 2005): equal weights for the best candidates.

    Args:
        elites: the number of best candidates, which have equal weights; all others have weight 0.
        space: the environment's action space: Discrete, or a Box of one axis with bounds, for which sequences are
            Gaussian. Without it, actions are discrete, and `actions` counts them.
        options: options of `Planner`, or of `GaussianPlanner` for a Box.

    Raises:
        TypeError: for another space.
        ValueError: for a Box without bounds or of several axes, and a Discrete space that does not start at 0.

    >>> from quickstudy.decide.models import Simulated
    >>> from quickstudy.decide.objective import Balance
    >>> import quickstudy as qs
    >>> env = qs.rl.CartPole()
    >>> model = Simulated(env, env.sample_tasks(3))
    >>> cross_entropy(candidates=30).plan(model, torch.zeros(3, 4), Balance.cartpole()).action.shape
    torch.Size([3])
    """
    return _planner(Elites(count=elites), space, options, refit=True)


@overload
def mppi(*, temperature: float = 0.3, space: Discrete | None = None, **options: Any) -> Planner: ...
@overload
def mppi(*, temperature: float = 0.3, space: Box, **options: Any) -> GaussianPlanner: ...
@overload
def mppi(*, temperature: float = 0.3, space: Space[Any], **options: Any) -> Planner | GaussianPlanner: ...
def mppi(*, temperature: float = 0.3, space: Space[Any] | None = None, **options: Any) -> Planner | GaussianPlanner:
    """Model-predictive path integral control (Williams et al. 2017, arXiv 1509.01149).

    Args:
        temperature: temperature of the softmax, in units of the objective.
        space, options: as of `cross_entropy`.

    Raises:
        TypeError, ValueError: as `cross_entropy`.

    >>> from gymnasium.spaces import Box
    >>> mppi(temperature=0.5).horizon, mppi(space=Box(-2.0, 2.0, (1,)), correlation=0.8).high
    (25, (2.0,))
    """
    return _planner(Softmax(temperature=temperature), space, options, refit=False)


def _planner(
    weigh: Elites | Softmax, space: Space[Any] | None, options: dict[str, Any], *, refit: bool
) -> Planner | GaussianPlanner:
    if space is None:
        return Planner(weigh=weigh, **options)
    if isinstance(space, Discrete):
        if space.start != 0:
            raise ValueError(f"space={space}; expected actions that start at 0")
        return Planner(weigh=weigh, actions=int(space.n), **options)
    if not isinstance(space, Box):
        raise TypeError(f"space={space}; expected the environment's action space, a Box or Discrete")
    if len(space.shape) != 1 or not space.is_bounded():
        raise ValueError(f"space={space}; expected a Box of one axis with bounds")
    low, high = (tuple(float(value) for value in end) for end in (space.low, space.high))
    return GaussianPlanner(weigh=weigh, low=low, high=high, refit=refit, **options)
