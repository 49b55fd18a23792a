"""The angle of a damped pendulum against time, by numerical integration."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import torch
from torch import Tensor

from quickstudy.data import Tasks
from quickstudy.learner import Split
from quickstudy.tasks.sampling import (
    Batch,
    Range,
    as_domain,
    as_range,
    bounds,
    check_fields,
    exprel,
    number,
    positive,
    stretch,
)

# Coefficients of SRKN_6^b, of order 4: Blanes and Moan 2002, Practical symplectic partitioned Runge-Kutta and
# Runge-Kutta-Nystrom methods, table 3. Six pairs of kick and drift and a last kick; both lists are symmetric.
_B = (0.0829844064174052, 0.396309801498368, -0.0390563049223486, 0.1195241940131508)
_A = (0.245298957184271, 0.604872665711080, -0.350171622895351)
_KICKS, _DRIFTS = (*_B, *_B[2::-1]), (*_A, *_A[::-1])

Stages = tuple[list[Tensor], list[Tensor], list[Tensor]]


@final
@dataclass(frozen=True, kw_only=True)
class Pendulum:
    """theta'' = -(g / l) sin(theta) - c theta': the angle of a damped pendulum against time.

    x is the time in seconds since the release; y is the angle in radians, 0 for hanging down. The default amplitudes
    are large (up to 155 degrees), so the curves are not sine waves: they are flat at the turning points, and their
    period grows with the amplitude. With the default ranges the pendulum never goes over the top, and the error of the
    integration is below 2e-5. The defaults are this package's own.

    Args:
        length: l, in metres; a number, or a `(low, high)` range drawn for every task.
        damping: c, per second; a number or a range.
        angle: theta at time 0, in radians; a number or a range.
        velocity: theta' at time 0, in radians per second; a number or a range.
        gravity: g, in metres per second squared, the same for all tasks.
        domain: the interval from which x is drawn, in seconds.
        noise: standard deviation of the observation noise on every output of support and query.
        with_velocity: whether y has two outputs `(theta, theta')`, or theta alone.

    Raises:
        ValueError: for a length or gravity that is not positive, a negative damping or noise, an empty range or domain,
            and a domain that starts before time 0.

    >>> family = Pendulum(with_velocity=True)
    >>> tasks = family.sample(4, support=5, query=20, generator=torch.Generator().manual_seed(0))
    >>> tasks.query.y.shape, sorted(tasks.info)
    (torch.Size([4, 20, 2]), ['angle', 'damping', 'length', 'velocity'])
    """

    length: Range = (0.5, 2.0)
    damping: Range = (0.05, 0.5)
    angle: Range = (-2.5, 2.5)
    velocity: Range = (-1.0, 1.0)
    gravity: float = 9.81
    domain: tuple[float, float] = (0.0, 5.0)
    noise: float = 0.0
    with_velocity: bool = False
    dx: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_fields(self, positive, "length")
        check_fields(self, partial(as_range, least=0), "damping")
        check_fields(self, as_range, "angle", "velocity")
        check_fields(self, number, "gravity", "noise")
        if self.gravity == 0:
            raise ValueError(f"gravity={self.gravity}; expected a number above 0")
        check_fields(self, as_domain, "domain")
        if self.domain[0] < 0:
            raise ValueError(f"domain={self.domain}; the pendulum is released at time 0: expected 0 <= low < high")

    @property
    def dy(self) -> int:
        """The number of outputs: 1, or 2 with the velocity."""
        return 2 if self.with_velocity else 1

    def sample(
        self,
        num_tasks: int,
        *,
        support: int,
        query: int,
        split: Split = "train",
        generator: torch.Generator | None = None,
        grid: bool = False,
    ) -> Tasks:
        """Draw tasks; the arguments are those of `Sinusoid.sample`.

        Returns:
            Tasks with `info` length, damping, and angle and velocity at time 0, each `[T]`.
        """
        batch = Batch(num_tasks, support, query, split, generator, grid)
        draws = batch.uniform(4)
        info = {
            name: stretch(draws[:, i], getattr(self, name))
            for i, name in enumerate(("length", "damping", "angle", "velocity"))
        }
        x = batch.inputs(draws[:, 4:], self.domain)
        pull, start = self.gravity / info["length"], (info["angle"], info["velocity"])
        angle, velocity = _swing(x.squeeze(2), pull, info["damping"], start, self.domain[1], self._steps())
        y = torch.stack([angle, velocity], 2) if self.with_velocity else angle.unsqueeze(2)
        return batch.tasks(x, y, info, self.noise)

    def _steps(self) -> int:
        """The number of integration steps: one for every half radian of the fastest motion that the ranges allow."""
        fastest_turn = max(map(abs, bounds(self.velocity))) / 2
        rate = math.hypot(math.sqrt(self.gravity / bounds(self.length)[0]), fastest_turn) + bounds(self.damping)[1]
        return math.ceil(2 * self.domain[1] * rate)


def _swing(
    times: Tensor, pull: Tensor, damping: Tensor, start: tuple[Tensor, Tensor], end: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Angle and velocity `[T, P]` of pendulums at `times [T, P]`.

    `steps` equal steps from 0 to `end` are computed for all tasks together. From the last of them before each time,
    one shorter step leads to that time, for all times together, so the result is as accurate as the steps.

    Args:
        times: from 0 to `end`.
        pull: g / l of each pendulum, `[T]`.
        damping: c of each pendulum, `[T]`.
        start: angle and velocity at time 0, `[T]` each.
        end: the end of the steps.
        steps: the number of steps.
    """
    step, states = end / steps, [start]
    stages = _stages(torch.full_like(pull, step), pull, damping)
    for _ in range(steps):
        states.append(_advance(*states[-1], stages))
    whole = (times / step).long().clamp_(0, steps)
    angle, velocity = (torch.stack(nodes, 1).gather(1, whole) for nodes in zip(*states, strict=True))
    return _advance(angle, velocity, _stages(times - whole * step, pull[:, None], damping[:, None]))


def _stages(step: Tensor, pull: Tensor, damping: Tensor) -> Stages:
    """The factors of the kicks, drifts and decays of one step."""
    kicks = {b: -b * step * pull for b in set(_KICKS)}
    drifts = {a: a * step * exprel(-a * step * damping) for a in set(_DRIFTS)}
    decays = {a: torch.exp(-a * step * damping) for a in set(_DRIFTS)}
    return [kicks[b] for b in _KICKS], [drifts[a] for a in _DRIFTS], [decays[a] for a in _DRIFTS]


def _advance(angle: Tensor, velocity: Tensor, stages: Stages) -> tuple[Tensor, Tensor]:
    """One step of order 4: kicks, which are exact for gravity alone, and drifts, exact for damping alone, in turn."""
    kicks, drifts, decays = stages
    velocity = torch.addcmul(velocity, angle.sin(), kicks[0])
    for kick, drift, decay in zip(kicks[1:], drifts, decays, strict=True):
        angle = torch.addcmul(angle, velocity, drift)
        velocity = torch.addcmul(velocity * decay, angle.sin(), kick)
    return angle, velocity
