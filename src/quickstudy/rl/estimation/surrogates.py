"""Outer objectives for adapted policies: surrogate losses by importance ratios, and KL divergences."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.rl.decisions import Decisions, Over, average, check_over, log_probs, outputs_at


@final
@dataclass(frozen=True, eq=False)
class RatioSurrogate:
    """The surrogate loss of an adapted policy on episodes that its previous version drew,

        -mean rho_t A_t,     rho_t = pi(a_t|s_t) / pi_old(a_t|s_t)

    (Schulman et al. 2015, arXiv 1502.05477, eq. 14), whose gradient at rho = 1 is the policy gradient. With `clip`
    epsilon it is `-mean min(rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon) A_t)` (Schulman et al. 2017, arXiv
    1707.06347, eq. 7; epsilon is 0.3 in ProMP).

    It is an objective `(model, decisions of one task, outer) -> scalar`; log pi_old is `decisions.log_prob`.

    Args:
        policy: the policy whose log-probabilities are taken.
        clip: epsilon; None for no clipping.
        over: what the sum over transitions is divided by: "transitions" or "episodes".

    Raises:
        ValueError: unless clip is None or above 0.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.policy import CategoricalPolicy
    >>> policy, one = CategoricalPolicy(qs.nets.MLP(2, [], 2)), torch.ones(4, 5)
    >>> old = torch.full((4, 5), 0.5).log()
    >>> data = Decisions(torch.zeros(4, 5, 2), one.long(), old, one, one.bool(), torch.arange(5).expand(4, 5))
    >>> RatioSurrogate(policy)(lambda x: torch.zeros(20, 2), data)
    tensor(-1.)
    """

    policy: Any
    _: KW_ONLY
    clip: float | None = None
    over: Over = "transitions"

    def __post_init__(self) -> None:
        check_over(self.over)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip!r}; expected a number above 0, or None")

    def __call__(self, model: Callable[[Tensor], Tensor], data: Decisions, outer: Any = None) -> Tensor:
        change = log_probs(self.policy, model, data) - torch.where(data.mask, data.log_prob, 0)
        ratio = change.exp()
        gain = ratio * data.advantage
        if self.clip is not None:
            gain = torch.minimum(gain, ratio.clamp(1 - self.clip, 1 + self.clip) * data.advantage)
        return -average(gain, data, self.over)


@final
@dataclass(frozen=True, eq=False)
class MeanKL:
    """The mean KL divergence `mean_t KL(pi_old(.|s_t) || pi(.|s_t))` over the transitions of one task.

    It is an objective `(model, (decisions of one task, old outputs [E, H, k]), outer) -> scalar`, with no gradient to
    the old outputs.

    Args:
        policy: the policy whose KL divergence is taken.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.policy import CategoricalPolicy
    >>> policy, one = CategoricalPolicy(qs.nets.MLP(2, [], 2)), torch.ones(4, 5)
    >>> data = Decisions(torch.zeros(4, 5, 2), one.long(), one, one, one.bool(), torch.arange(5).expand(4, 5))
    >>> MeanKL(policy)(lambda x: torch.zeros(20, 2), (data, torch.zeros(4, 5, 2)))
    tensor(0.)
    """

    policy: Any

    def __call__(self, model: Callable[[Tensor], Tensor], data: tuple[Decisions, Tensor], outer: Any = None) -> Tensor:
        seen, old = data
        return average(self.policy.kl(old.detach(), outputs_at(model, seen)), seen, "transitions")
