"""The concentration of a drug in closed form: one or two compartments, swallowed or injected."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from quickstudy.tasks.sampling import exprel

Route = Literal["oral", "bolus"]
SOON = 1 / 60  # hours; without carry-over, earlier times count as this one, as the logarithm of 0 is not finite
_TINY = 1e-300


class Compartments(NamedTuple):
    """A compartment model, whose parameters are logarithms, since people differ by factors.

    With an injection (a bolus) the blood receives the dose D at once; swallowed, it is absorbed at rate k_a. The blood
    has volume V and clearance C; in two compartments it exchanges the drug with tissue of volume R V at the flow E C.
    (Gibaldi and Perrier 1982, Pharmacokinetics, chapters 1 and 2.) Absorption is faster than elimination,
    k_a = C / V + A: for one compartment the curve is the same with both rates exchanged ("flip-flop"), and so no sample
    could tell.

    With carry-over, the same dose was taken a washout W earlier, as in trials with several periods. A sample at or
    before time 0 is then taken before the dose, and shows what is left of the earlier one: who has much of it left
    eliminates slowly.

    Args:
        number: of compartments, 1 or 2.
        route: "oral" or "bolus".
        carry_over: whether an earlier dose is part of the model.

    >>> model = Compartments(1, "bolus")
    >>> model.names
    ('volume', 'clearance')
    >>> model.log_concentration(torch.tensor([2.0, 1.0]).log(), torch.tensor([0.0, 2.0])).exp()  # V = 2, C = 1
    tensor([0.4959, 0.1839])
    """

    number: int = 1
    route: Route = "oral"
    carry_over: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in their order: V, C, A, R, E, W; those that the model lacks are left out.

        Units follow the data: V is dose per concentration, C is V per hour, A per hour, W hours; R and E have none.
        """
        absorbed = ("absorption",) if self.route == "oral" else ()
        tissue = ("tissue", "exchange") if self.number == 2 else ()
        return "volume", "clearance", *absorbed, *tissue, *(("washout",) if self.carry_over else ())

    def log_concentration(self, logs: Tensor, hours: Tensor) -> Tensor:
        """Logarithm of the concentration for a dose of 1.

        Args:
            logs: `[..., P]`, logarithms of the parameters in the order of `names`.
            hours: `[..., N]`, since the dose.

        Returns:
            `[..., N]`.
        """
        logs = logs.unsqueeze(-2)
        if not self.carry_over:
            return self._after(logs, hours.clamp_min(SOON))
        now = torch.where(hours > 0, self._after(logs, hours.clamp_min(1e-6)), -math.inf)
        earlier = self._after(logs[..., :-1], (hours + logs[..., -1].exp()).clamp_min(SOON))
        return torch.logaddexp(now, earlier)

    def level_and_slope(self, logs: Tensor, hours: Tensor) -> tuple[Tensor, Tensor]:
        """`log_concentration`, and its derivative by time, per hour: the difference over a second, and 0 before 0."""
        second = 1 / 3600
        both = self.log_concentration(logs, torch.cat([hours, hours + second], -1))
        level, later = both.chunk(2, -1)
        return level, torch.where(hours > 0, (later - level) / second, 0.0)

    def _after(self, logs: Tensor, hours: Tensor) -> Tensor:
        """For positive hours. Each exponential is divided by that of the smallest rate, so that none underflows."""
        volume, rate = logs[..., 0], (logs[..., 1] - logs[..., 0]).exp()
        if self.number == 1:
            parts = [(rate, torch.ones_like(rate))]
        else:
            fast, slow, share = self._hybrid(logs, rate)
            parts = [(slow, 1 - share), (fast, share)]
        least = parts[0][0]
        absorption = rate + logs[..., 2].exp() if self.route == "oral" else None
        total = sum(share * _decay(speed, absorption, least, hours) for speed, share in parts)
        assert isinstance(total, Tensor)
        return total.clamp_min(_TINY).log() - least * hours - volume

    def _hybrid(self, logs: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The two rates at which the blood is emptied, and the share of the fast one."""
        tissue, exchange = (
            logs[..., i].exp() for i in range(len(self.names) - 2 - self.carry_over, len(self.names) - self.carry_over)
        )
        back = rate * exchange / tissue
        half = (rate + rate * exchange + back) / 2
        gap = (half.square() - rate * back).clamp_min(1e-24 * half.square()).sqrt()
        fast = half + gap
        return fast, rate * back / fast, (fast - back) / (2 * gap)


def _decay(speed: Tensor, absorption: Tensor | None, least: Tensor, hours: Tensor) -> Tensor:
    """exp(-speed t), or absorbed at rate k, k (exp(-speed t) - exp(-k t)) / (k - speed); both over exp(-least t)."""
    if absorption is None:
        return torch.exp((least - speed) * hours)
    slow, gap = torch.minimum(speed, absorption), (speed - absorption).abs()
    return absorption * hours * torch.exp((least - slow) * hours) * exprel((-gap * hours).clamp_max(-1e-12))
