"""The options with which a run is measured again."""

from dataclasses import replace

import pytest

from quickstudy.experiments.remeasure import NAMES_IN_EVALUATE, labelled, protocols
from quickstudy.recipes import RECIPES
from quickstudy.recipes.gp import cnp as gp_cnp
from quickstudy.recipes.navigation2d import maml as navigation2d_maml
from quickstudy.recipes.sinusoid import np as sinusoid_np


def test_without_arguments_the_options_stay() -> None:
    options = sinusoid_np.Options()
    assert protocols("sinusoid-np", options) == {"": options}


def test_numbers_of_points_are_measured_at_once() -> None:
    options = sinusoid_np.Options()
    found = protocols("sinusoid-np", options, tasks=7, support=[1, 4], which="last", seed=3)
    assert found == {"": replace(options, test_tasks=7, shots=(1, 4), which="last", test_seed=3)}


def test_numbers_of_episodes_are_measured_one_after_the_other() -> None:
    options = navigation2d_maml.Options()
    one = replace(options, test_episodes=20, test_steps=1)
    assert protocols("navigation2d-maml", options, support=[20], steps=[0, 1]) == {"": one}
    several = protocols("navigation2d-maml", options, support=[20, 40], steps=[1])
    assert several == {"k=20": one, "k=40": replace(one, test_episodes=40)}


GRADIENT = ("sinusoid-maml", "sinusoid-pretrained", "sinusoid-meta-sgd", "sinusoid-compare", "digits-norm", "demo")


@pytest.mark.parametrize("recipe", GRADIENT)
def test_every_recipe_with_gradient_steps_takes_numbers_of_them(recipe: str) -> None:
    options = RECIPES[recipe].load().Options()
    assert protocols(recipe, options, steps=[0, 1, 5, 20]) == {"": replace(options, test_steps=(0, 1, 5, 20))}
    assert options.counts((0, 1, 10), 5) == [0, 1, 5, 10]  # the number in training is added
    assert replace(options, test_steps=(20, 0, 0)).counts((0, 1, 10), 5) == [0, 20]


def test_recipes_without_gradient_steps_have_no_such_option() -> None:
    policies = {name for name in RECIPES if name.startswith(("navigation2d", "locomotion"))}
    others = set(RECIPES) - {*GRADIENT, "table"} - policies
    assert not [name for name in others if hasattr(RECIPES[name].load().Options, "test_steps")]


def test_an_argument_without_an_option_in_the_recipe_raises_an_error() -> None:
    for name, argument in (("support", {"support": (3,)}), ("steps", {"steps": [0]})):
        with pytest.raises(ValueError, match=f"gp-cnp has a fixed protocol, which --{name} cannot change"):
            protocols("gp-cnp", gp_cnp.Options(), **argument)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_has_at_most_one_option_for_the_support_size(recipe: str) -> None:
    kind = RECIPES[recipe].load().Options
    fields = kind.__dataclass_fields__
    assert len([name for name, word in NAMES_IN_EVALUATE.items() if word == "--support" and name in fields]) <= 1


def test_labels_stand_before_other_keys() -> None:
    found = labelled({"maml/return/steps=1": 1, "return": 2}, "k=5")
    assert found == {"maml/return/k=5/steps=1": 1, "return/k=5": 2}
    assert labelled(found, "") == found
