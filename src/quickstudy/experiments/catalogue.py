"""The recipes by name. This module does not import torch, and imports a recipe only when it is loaded.

A recipe is a module with a frozen dataclass `Options` and `run(options, stage)`; see `quickstudy.experiments.stage`.
"""

from importlib import import_module
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """One row of the catalogue.

    Args:
        module: name of the recipe's module, below `quickstudy.recipes`.
        summary: one line about the recipe, for `quickstudy list`.
    """

    module: str
    summary: str

    def load(self) -> Any:
        """The recipe's module."""
        return import_module(f"quickstudy.recipes.{self.module}")


RECIPES: dict[str, Recipe] = {
    "demo": Recipe("demo", "MAML, a pretrained network, an oracle, a Neural Process and a CNP on the same sinusoids"),
    "sinusoid-maml": Recipe("sinusoid.maml", "MAML on sine waves: the protocol of the MAML paper, 70,000 steps"),
    "sinusoid-pretrained": Recipe(
        "sinusoid.pretrained",
        "the MAML paper's baseline on sine waves: one network trained on all waves, then fine-tuned",
    ),
    "sinusoid-oracle": Recipe(
        "sinusoid.oracle", "the MAML paper's oracle on sine waves: a network that is given amplitude and phase"
    ),
    "sinusoid-meta-sgd": Recipe(
        "sinusoid.meta_sgd", "Meta-SGD and MAML on sine waves of varying frequency: the Meta-SGD paper's 60,000 steps"
    ),
    "sinusoid-compare": Recipe(
        "sinusoid.compare.recipe",
        "every learner on the same sine waves, with equal budgets, tuned by equal numbers of trials",
    ),
    "sinusoid-np": Recipe("sinusoid.np", "a Neural Process on MAML's sine waves"),
    "gp": Recipe("gp.models", "a neural process of your choice on samples of Gaussian processes"),
    "gp-np": Recipe("gp.np", "a Neural Process on samples of Gaussian processes, compared with the exact posterior"),
    "gp-cnp": Recipe("gp.cnp", "a Conditional Neural Process on samples of Gaussian processes"),
    "sawtooth": Recipe(
        "sawtooth.recipe", "a neural process of your choice on the sawtooth waves of three publications"
    ),
    "predator-prey": Recipe(
        "predator_prey.recipe", "a neural process of your choice forecasts predators and prey, simulated and real"
    ),
    "images": Recipe("images.recipe", "a neural process of your choice completes images from a few of their pixels"),
    "gp-kl": Recipe("gp.kl", "how far a learner's beliefs are from exact posteriors, also beyond its training"),
    "cartpole-np": Recipe(
        "cartpole.np", "a Neural Process balances carts of unknown mass; rivals: PETS, DQN, REINFORCE, an oracle"
    ),
    "cartpole-dynamics": Recipe(
        "cartpole.dynamics", "how well every learner predicts carts of unknown physics, by transitions seen"
    ),
    "swing-up": Recipe(
        "swing_up.recipe", "a Neural Process swings up pendulums, or poles on carts, of unknown physics; rival: ALPaCA"
    ),
    "navigation2d-maml": Recipe(
        "navigation2d.maml", "MAML on 2-D navigation: the protocol of the MAML paper, TRPO, 100 updates"
    ),
    "navigation2d-promp": Recipe(
        "navigation2d.promp", "ProMP on 2-D navigation: clipped steps of Adam in place of TRPO"
    ),
    "navigation2d-pretrained": Recipe(
        "navigation2d.pretrained",
        "the MAML paper's baseline on 2-D navigation: one policy for all goals, then fine-tuned",
    ),
    "navigation2d-oracle": Recipe(
        "navigation2d.oracle", "the MAML paper's oracle on 2-D navigation: a policy that sees the goal"
    ),
    "locomotion-maml": Recipe(
        "locomotion.maml", "MAML on robots that run in unknown directions or at unknown speeds; MuJoCo"
    ),
    "navigation2d-pearl": Recipe(
        "navigation2d.pearl", "PEARL on 2-D navigation, beside RL^2 and MAML with equal numbers of transitions"
    ),
    "bandit-rl2": Recipe("bandit.rl2", "RL^2 on Bernoulli bandits, beside the index policy and Thompson sampling"),
    "gridnavi-rl2": Recipe("gridnavi.rl2", "RL^2 searches a grid over four episodes, beside the Bayes-optimal policy"),
    "gridnavi-varibad": Recipe("gridnavi.varibad", "VariBAD searches a grid; its belief beside the exact posterior"),
    "digits-norm": Recipe(
        "digits.norm", "BatchNorm, TaskNorm, MetaBatchNorm and GroupNorm in MAML, on digits, 5-way 1-shot"
    ),
    "pharmacokinetics": Recipe(
        "pharmacokinetics.recipe",
        "drug concentrations of new people from their first blood samples, in two real studies",
    ),
    "table": Recipe(
        "table.recipe", "groups of rows in your CSV file as tasks; held-out groups predicted from their first rows"
    ),
    "page": Recipe("page.recipe", "the learners of the page that `quickstudy play` opens, beside the exact posterior"),
    "few-rows": Recipe(
        "few_rows.recipe", "28 real tables: new groups predicted from their first rows, by many learners"
    ),
}
