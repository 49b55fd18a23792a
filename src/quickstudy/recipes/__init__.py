"""What the command line runs: experiments and nothing else, a folder for each, read top to bottom."""

from quickstudy.experiments.catalogue import RECIPES as RECIPES
from quickstudy.experiments.catalogue import Recipe as Recipe
