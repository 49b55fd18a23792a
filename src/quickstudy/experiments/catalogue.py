"""The recipes by name: all that the command line knows before one is chosen. Nothing here imports torch.

A recipe is a module with a frozen dataclass `Options` and `run(options, stage)`; see `quickstudy.experiments.stage`.
"""

from importlib import import_module
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """One row of the catalogue.

    Args:
        module: where the recipe lives, below `quickstudy.recipes`.
        summary: one line for `quickstudy list`.
    """

    module: str
    summary: str

    def load(self) -> Any:
        """The recipe's module."""
        return import_module(f"quickstudy.recipes.{self.module}")


RECIPES: dict[str, Recipe] = {
    "demo": Recipe("demo", "MAML, a pretrained network, an oracle, a Neural Process and a CNP on the same sinusoids"),
    "sinusoid-maml": Recipe("sinusoid.maml", "MAML on sine waves: the paper's protocol, 70,000 steps"),
    "sinusoid-pretrained": Recipe(
        "sinusoid.pretrained", "the paper's baseline: one network trained on all waves at once"
    ),
    "sinusoid-oracle": Recipe("sinusoid.oracle", "the paper's oracle: a network that is told amplitude and phase"),
    "sinusoid-meta-sgd": Recipe(
        "sinusoid.meta_sgd", "Meta-SGD beside MAML on waves of varying frequency: the paper's 60,000 steps"
    ),
    "sinusoid-compare": Recipe(
        "sinusoid.compare.recipe",
        "every learner on the same sine waves, under an equal budget, each tuned by as many trials",
    ),
    "sinusoid-np": Recipe("sinusoid.np", "a Neural Process on MAML's sine waves"),
    "gp-np": Recipe("gp.np", "a Neural Process on draws of a Gaussian process, beside the exact posterior"),
    "gp-cnp": Recipe("gp.cnp", "a Conditional Neural Process on draws of a Gaussian process"),
    "cartpole-np": Recipe(
        "cartpole.np", "a Neural Process balances unknown carts, beside PETS, DQN, REINFORCE and the truth"
    ),
    "navigation2d-maml": Recipe("navigation2d.maml", "MAML on 2-D navigation: the paper's protocol, TRPO, 100 updates"),
    "navigation2d-promp": Recipe("navigation2d.promp", "ProMP on the same: clipped steps of Adam on the same episodes"),
    "navigation2d-pretrained": Recipe(
        "navigation2d.pretrained", "the paper's rival: one policy for all goals, then fine-tuned"
    ),
    "navigation2d-oracle": Recipe("navigation2d.oracle", "the paper's oracle: a policy that sees the goal"),
    "digits-norm": Recipe(
        "digits.norm", "BatchNorm, TaskNorm, MetaBatchNorm and GroupNorm in MAML: digits, 5-way 1-shot"
    ),
    "table": Recipe("table.recipe", "your own CSV: one task a group, held-out groups predicted from their first rows"),
}
