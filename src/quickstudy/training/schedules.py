"""Learning-rate schedules in closed form: the factor depends only on the step."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
SCHEDULES = ("constant", "cosine", "warmup_cosine")
WARMUP = 0.05  # the share of the steps over which "warmup_cosine" rises


def make_schedule(schedule: str | Schedule, steps: int) -> Schedule:
    """Return a function step -> factor on the learning rate, for steps 0 to `steps` - 1.

    Args:
        schedule: "constant"; "cosine", (1 + cos(pi s / S)) / 2; "warmup_cosine", which first rises
            linearly over 5% of the steps; or your own `step -> factor`.
        steps: number of steps of the run, S.

    Raises:
        ValueError: for an unknown name.

    >>> cosine = make_schedule("cosine", 100)
    >>> cosine(0), round(cosine(50), 6)
    (1.0, 0.5)
    """
    if callable(schedule):
        return schedule
    if schedule == "constant":
        return lambda step: 1.0
    if schedule == "cosine":
        return lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    if schedule == "warmup_cosine":
        warmup = max(1, round(WARMUP * steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        return factor
    raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)} or give step -> factor")
