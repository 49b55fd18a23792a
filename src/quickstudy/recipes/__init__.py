"""What the command line runs: one experiment a file, read top to bottom.

This table is all that the command line knows before a recipe is chosen; nothing here imports torch.
A recipe is a module with a frozen dataclass `Options` and `run(options, stage)`; see `quickstudy.recipes.stage`.
"""

from importlib import import_module
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """One row of the table.

    Args:
        module: where the recipe lives, below `quickstudy.recipes`.
        summary: one line for `quickstudy list`.
        cites: keys of `quickstudy.citations.BIBTEX` for the papers whose experiment this is.
    """

    module: str
    summary: str
    cites: tuple[str, ...] = ()

    def load(self) -> Any:
        """The recipe's module."""
        return import_module(f"quickstudy.recipes.{self.module}")


RECIPES: dict[str, Recipe] = {
    "demo": Recipe(
        "demo",
        "MAML, a pretrained network, an oracle, a Neural Process and a CNP on the same sinusoids",
        ("finn2017maml",),
    ),
    "sinusoid-maml": Recipe(
        "sinusoid_maml", "MAML on sine waves: the paper's protocol, 70,000 steps", ("finn2017maml",)
    ),
    "sinusoid-pretrained": Recipe(
        "sinusoid_pretrained", "the paper's baseline: one network trained on all waves at once", ("finn2017maml",)
    ),
    "sinusoid-oracle": Recipe(
        "sinusoid_oracle", "the paper's oracle: a network that is told amplitude and phase", ("finn2017maml",)
    ),
    "sinusoid-meta-sgd": Recipe(
        "sinusoid_meta_sgd",
        "Meta-SGD beside MAML on waves of varying frequency: the paper's 60,000 steps",
        ("li2017metasgd", "finn2017maml"),
    ),
    "sinusoid-compare": Recipe(
        "sinusoid_compare",
        "every learner on the same sine waves, under an equal budget, each tuned by as many trials",
        ("finn2017maml",),
    ),
    "sinusoid-np": Recipe("sinusoid_np", "a Neural Process on MAML's sine waves", ("finn2017maml",)),
    "gp-np": Recipe(
        "gp_np", "a Neural Process on draws of a Gaussian process, beside the exact posterior", ("nguyen2022tnp",)
    ),
    "gp-cnp": Recipe("gp_cnp", "a Conditional Neural Process on draws of a Gaussian process", ("nguyen2022tnp",)),
    "cartpole-np": Recipe(
        "cartpole_np",
        "a Neural Process balances unknown carts, beside PETS, DQN, REINFORCE and the truth",
        ("garnelo2018np",),
    ),
    "navigation2d-maml": Recipe(
        "navigation2d_maml", "MAML on 2-D navigation: the paper's protocol, TRPO, 100 updates", ("finn2017maml",)
    ),
    "navigation2d-promp": Recipe(
        "navigation2d_promp", "ProMP on the same: clipped steps of Adam on the same episodes", ("rothfuss2019promp",)
    ),
    "navigation2d-pretrained": Recipe(
        "navigation2d_pretrained", "the paper's rival: one policy for all goals, then fine-tuned", ("finn2017maml",)
    ),
    "navigation2d-oracle": Recipe(
        "navigation2d_oracle", "the paper's oracle: a policy that sees the goal", ("finn2017maml",)
    ),
    "digits-norm": Recipe(
        "digits_norm",
        "BatchNorm, TaskNorm, MetaBatchNorm and GroupNorm in MAML: digits, 5-way 1-shot",
        ("bronskill2020tasknorm", "finn2017maml"),
    ),
    "table": Recipe("table", "your own CSV: one task a group, held-out groups predicted from their first rows"),
}
