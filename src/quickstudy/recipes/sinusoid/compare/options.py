"""Options of the comparison: the same budget for every learner."""

from dataclasses import dataclass

from quickstudy.experiments.options import Stepped
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid.compare.families import FAMILIES, Family
from quickstudy.recipes.sinusoid.compare.methods import METHODS


@dataclass(frozen=True, kw_only=True)
class Options(Stepped):
    """Options of the recipe; every learner has the same budget."""

    steps: int = 20_000
    """Meta-training steps of every learner."""
    seconds: float = 0.0
    """Budget in seconds, converted into steps by timing losses and gradients before training; 0 means --steps."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to compare."""
    trials: int = 6
    """Number of settings that are tried for every method, on validation tasks."""
    trial_steps: int = 4_000
    """Meta-training steps of every trial."""
    family: Family = "sinusoid"
    """Family of curves: MAML's waves, those of the Meta-SGD paper (of varying frequency), or a harder family."""
    noise: float = 0.0
    """Standard deviation of the observations' noise."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Support points of each unseen curve, K; several numbers are measured one after another."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    support: tuple[int, int] = (5, 20)
    """Fewest and most support points in training; the number is drawn for every batch."""
    query: int = 10
    """Query points of each task in training."""
    width: int = 40
    """Units in each of the two hidden layers of the gradient-based learners' network."""
    clip: float = 10.0
    """Largest norm of a meta-gradient."""
    test_tasks: int = 1_000
    """Unseen curves to measure on."""


def curves(options: Options) -> TaskFamily:
    """The family of curves, with its noise."""
    return FAMILIES[options.family](noise=options.noise)


def check(options: Options) -> None:
    """Raise ValueError if an option has an invalid value."""
    unknown = [name for name in options.methods if name not in METHODS]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: choose from {', '.join(METHODS)}")
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise ValueError(f"--methods {' '.join(options.methods)}: expected at least one method, each once")
    if not options.shots:
        raise ValueError("--shots: expected at least one number of points")
    for name in ("trials", "trial_steps", "tasks", "query", "width"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if options.seconds < 0:
        raise ValueError(f"--seconds {options.seconds}: expected a number of at least 0")
