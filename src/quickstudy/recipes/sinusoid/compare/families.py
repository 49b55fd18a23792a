"""The task families on which learners are compared: sine waves, and harder families of curves."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import quickstudy as qs
from quickstudy.learner import TaskFamily

Family = Literal["sinusoid", "sinusoid-meta-sgd", "harmonic", "sine-and-line", "steps", "pendulum", "pharmacokinetics"]

# In units of 2.5 hours and 4 mg/L, inputs and outputs are about as large as those of a sine wave.
_pharmacokinetics = partial(
    qs.tasks.Pharmacokinetics,
    absorption=(1.25, 10.0),
    clearance=(0.0375, 0.15),
    dose=(0.75, 1.5),
    domain=(0.0, 10.0),
)

FAMILIES: dict[str, Callable[..., TaskFamily]] = {  # each of them has an argument `noise`
    "sinusoid": qs.tasks.Sinusoid,
    "sinusoid-meta-sgd": qs.tasks.Sinusoid.meta_sgd,
    "harmonic": qs.tasks.Harmonic,
    "sine-and-line": qs.tasks.SineAndLine,
    "steps": qs.tasks.Steps,
    "pendulum": qs.tasks.Pendulum,
    "pharmacokinetics": _pharmacokinetics,
}
