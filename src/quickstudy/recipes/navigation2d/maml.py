"""MAML on 2-D navigation: the experiment of Finn et al. 2017, section 5.3, with the settings of its code.

A point moves from the origin to a goal U(-0.5, 0.5)^2 that it does not observe; the reward is minus the distance.
TRPO meta-trains the policy for its return after one policy-gradient step on 20 episodes. The return on 200 unseen goals
is measured after 0 to 3 gradient steps, each on 40 episodes (or on 4,000 transitions), and compared with a policy
trained on all goals and an untrained one. Published: MAML -40.4, -11.7, -3.3, -3.2; pretrained -40.8, -19.7, -11.7,
-8.5.
"""

from dataclasses import dataclass
from typing import Any, Literal

from quickstudy.evaluation.intervals import Metric
from quickstudy.experiments.across_seeds import gather as gather
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.navigation2d import protocol as navigation


@dataclass(frozen=True, kw_only=True)
class Options(navigation.WithRivals):
    """Options of the recipe. The defaults are the authors', except for the learning rates at test time."""

    inner_steps: int = 1
    """Inner gradient steps in training."""
    estimator: Literal["maml", "lvc", "dice", "emaml"] = "maml"
    """Estimator of the derivative of the inner policy gradient; see `quickstudy.rl.estimation.estimators`."""
    first_order: bool = False
    """Leave out the derivative of the inner gradient (first-order MAML)."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    inner: dict[str, Any] = {
        "steps": options.inner_steps,
        "estimator": options.estimator,
        "first_order": options.first_order,
    }
    return navigation.compare("maml", navigation.trpo(options, **inner), options, stage)
