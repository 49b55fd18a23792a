"""Beliefs about a latent variable: normal distributions with independent components."""

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
