"""What every learner of the comparison is given."""

from dataclasses import dataclass

from quickstudy.experiments.options import Sampled
from quickstudy.learner import TaskFamily
from quickstudy.recipes.sinusoid.compare.families import FAMILIES, Family
from quickstudy.recipes.sinusoid.compare.methods import CONTENDERS


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """One budget for all."""

    steps: int = 20_000
    """Meta-training steps of every learner."""
    seconds: float = 0.0
    """In place of steps: about so many seconds of losses and gradients, as timed when training begins; 0: the steps."""
    methods: tuple[str, ...] = tuple(CONTENDERS)
    """Who takes part."""
    trials: int = 6
    """Settings tried for everybody, on validation tasks."""
    trial_steps: int = 4_000
    """Meta-training steps of a trial."""
    family: Family = "sinusoid"
    """The curves: MAML's waves, those of the Meta-SGD paper (frequency varies too), or a harder family."""
    noise: float = 0.0
    """Standard deviation of the observations' noise."""
    shots: tuple[int, ...] = (5, 10, 20)
    """Points seen of each unseen curve when measuring."""
    tasks: int = 25
    """Tasks in a meta-batch."""
    support: tuple[int, int] = (5, 20)
    """Fewest and most points to adapt to in training; drawn anew for every batch."""
    query: int = 10
    """Points to be judged on in training."""
    width: int = 40
    """Units in each of the two hidden layers of the gradient-based learners' network."""
    clip: float = 10.0
    """Largest norm of a meta-gradient."""
    test_tasks: int = 1_000
    """Unseen curves to measure on."""


def curves(options: Options) -> TaskFamily:
    """Where tasks come from."""
    return FAMILIES[options.family](noise=options.noise)


def check(options: Options) -> None:
    """Raise ValueError for options that make no sense."""
    unknown = [name for name in options.methods if name not in CONTENDERS]
    if unknown:
        raise ValueError(f"--methods {unknown[0]}: choose from {', '.join(CONTENDERS)}")
    if not options.methods or len(set(options.methods)) < len(options.methods):
        raise ValueError(f"--methods {' '.join(options.methods)}: expected at least one, and none twice")
    if not options.shots:
        raise ValueError("--shots: expected at least one number of points")
    for name in ("trials", "trial_steps", "tasks", "query", "width"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least 1")
    if options.seconds < 0:
        raise ValueError(f"--seconds {options.seconds}: expected a number of at least 0")
