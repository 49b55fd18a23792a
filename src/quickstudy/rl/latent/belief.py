"""Beliefs about a latent variable: normal distributions with independent components, and products of them."""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Belief(NamedTuple):
    """N(mean, diag exp(log_variance)) over `z` components, at any number of places; both are `[..., z]`.

    >>> belief = Belief.standard(torch.zeros(3, 5))
    >>> belief.divergence(belief).shape, belief.at(torch.ones(3, 5)).sum()
    (torch.Size([3]), tensor(15.))
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def standard(cls, like: Tensor) -> Self:
        """N(0, 1) in every component of `like [..., z]`."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))

    def at(self, noise: Tensor) -> Tensor:
        """The latent `[..., z]` for standard normal noise of that shape; its gradient is that of the belief."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def divergence(self, other: "Belief") -> Tensor:
        """KL(self || other), `[...]`, in nats."""
        change = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return ((change.exp() + distance - 1 - change) / 2).sum(-1)


class Evidence(NamedTuple):
    """A product of normal factors N(mean_n, variance_n), summed up over the factors; both are `[..., z]`.

    The product is N(pull / precision, 1 / precision). It does not depend on the order of the factors, and that of a
    union is the sum of both.

    Args:
        precision: the sum of 1 / variance_n; 0 for no factor.
        pull: the sum of mean_n / variance_n.

    >>> one = Evidence.of(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
    >>> one.belief().mean, one.belief().log_variance.exp()
    (tensor([2.]), tensor([0.5000]))
    """

    precision: Tensor
    pull: Tensor

    @classmethod
    def of(cls, mean: Tensor, variance: Tensor, mask: Tensor | None = None) -> Self:
        """The product over n of factors `[..., n, z]`, where `mask [..., n]` is True."""
        precision = 1 / variance
        pull = mean * precision
        if mask is not None:
            precision, pull = (torch.where(mask.unsqueeze(-1), part, 0.0) for part in (precision, pull))
        return cls(precision.sum(-2), pull.sum(-2))

    def joined(self, other: "Evidence") -> "Evidence":
        """The product of the factors of both."""
        return Evidence(self.precision + other.precision, self.pull + other.pull)

    def belief(self) -> Belief:
        """The product as a belief; N(0, 1) where there is no factor."""
        some = self.precision > 0
        precision = torch.where(some, self.precision, 1.0)
        return Belief(torch.where(some, self.pull / precision, 0.0), torch.where(some, -precision.log(), 0.0))
