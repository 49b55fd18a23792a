"""Recipes, which the command line runs: each is one experiment, and its code reads from top to bottom."""

from quickstudy.experiments.catalogue import RECIPES as RECIPES
from quickstudy.experiments.catalogue import Recipe as Recipe
