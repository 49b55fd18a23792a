"""The families of curves that learners are compared on: sine waves, and harder ones."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import quickstudy as qs
from quickstudy.learner import TaskFamily

Family = Literal["sinusoid", "sinusoid-meta-sgd", "harmonic", "sine-and-line", "steps", "pendulum", "pharmacokinetics"]

# A person's curve in units of 2.5 hours and 4 mg/L, so that inputs and outputs are about as large as those of a wave.
_pharmacokinetics = partial(
    qs.tasks.Pharmacokinetics,
    absorption=(1.25, 10.0),
    clearance=(0.0375, 0.15),
    dose=(0.75, 1.5),
    domain=(0.0, 10.0),
)

FAMILIES: dict[str, Callable[..., TaskFamily]] = {  # each takes `noise=`
    "sinusoid": qs.tasks.Sinusoid,
    "sinusoid-meta-sgd": qs.tasks.Sinusoid.meta_sgd,
    "harmonic": qs.tasks.Harmonic,
    "sine-and-line": qs.tasks.SineAndLine,
    "steps": qs.tasks.Steps,
    "pendulum": qs.tasks.Pendulum,
    "pharmacokinetics": _pharmacokinetics,
}
