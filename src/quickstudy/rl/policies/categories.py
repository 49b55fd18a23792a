"""Categorical distributions, given by logits `[..., k]`."""

from torch import Tensor


def categorical_log_prob(logits: Tensor, action: Tensor) -> Tensor:
    """The log-probability `[...]` of integers `[...]`."""
    return logits.log_softmax(-1).gather(-1, action.long().unsqueeze(-1)).squeeze(-1)


def categorical_kl(old: Tensor, new: Tensor) -> Tensor:
    """KL(old || new) = sum_a p(a) (log p(a) - log p'(a)), `[...]`; a prime marks `new`."""
    log_p = old.log_softmax(-1)
    return (log_p.exp() * (log_p - new.log_softmax(-1))).sum(-1)


def categorical_entropy(logits: Tensor) -> Tensor:
    """The entropy -sum_a p(a) log p(a), `[...]`, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
