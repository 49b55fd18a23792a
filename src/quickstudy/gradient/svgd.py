"""Stein variational gradient descent (Liu and Wang 2016, arXiv 1608.04471), as an inner rule."""

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number
from quickstudy.data import Examples
from quickstudy.inner.rates import Rated, check_rate, rate_at, rate_text
from quickstudy.nets.particles import network_name


@final
class SVGD(nn.Module):
    """A step of particles that descend the loss and repel each other (algorithm 1):

        theta_i' = theta_i - lr/P sum_j [k(theta_j, theta_i) grad L(theta_j) - c/N grad_theta_j k(theta_j, theta_i)],

    k = exp(-|theta_j - theta_i|^2 / h), where h = median^2 / log P over the pairs. L is the mean negative
    log-likelihood of N points. With c = 1 this is the paper's step of size lr/N towards the posterior under a flat
    prior; with another temperature c the target is exp(-N L / c).

    The first axis of every adapted parameter counts particles, `[P, *shape]`; see `Particles`. Without points, nothing
    moves.

    Args:
        lr: as for `optimizers.SGD`. Names of parameters are those in the network, and all particles share their rates.
        temperature: c, at least 0; an `nn.Parameter` is meta-learned, and counts as 0 when it is negative.

    >>> rule = SVGD(0.1)
    >>> value, gradient = torch.tensor([[0.0], [1.0]]), torch.zeros(1, 2, 1)
    >>> apart = rule.direct({"w": value}, {"w": gradient}, None)["w"]
    >>> (apart[0, 0] > 0).item(), (apart[0, 1] < 0).item()
    (True, True)
    """

    linear = False

    def __init__(self, lr: Rated = 0.01, *, temperature: float | nn.Parameter = 1.0):
        super().__init__()
        self.lr = check_rate(lr)
        number = temperature.item() if isinstance(temperature, Tensor) and temperature.dim() == 0 else temperature
        number = check_number("temperature", number)
        self.temperature = temperature if isinstance(temperature, Tensor) else number

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"lr": self.lr, "temperature": self.temperature}

    def extra_repr(self) -> str:
        """The rate and the temperature."""
        return f"lr={rate_text(self.lr)}, temperature={rate_text(self.temperature)}"

    def direct(self, values: dict[str, Tensor], gradients: dict[str, Tensor], data: Any) -> dict[str, Tensor]:
        """The SVGD directions `[T, P, *shape]`, which take the place of the gradients.

        Args:
            values: the parameters, `[T, P, *shape]`, or `[P, *shape]` as long as tasks share them.
            gradients: of the mean loss, `[T, P, *shape]`.
            data: the points of the step. N is their number if they are `Examples`, else 1.
        """
        flat = {k: g.flatten(2) for k, g in gradients.items()}
        places = {k: values[k].expand_as(g).flatten(2) for k, g in gradients.items()}
        places = {k: v - v.mean(1, keepdim=True) for k, v in places.items()}  # the same distances, more precisely
        kernel, inverse = rbf(torch.stack([v @ v.mT for v in places.values()]).sum(0))
        count = data.sizes().to(kernel) if isinstance(data, Examples) else kernel.new_ones(len(kernel))
        warmth = self.temperature.clamp(min=0) if isinstance(self.temperature, Tensor) else self.temperature
        share = torch.where(count > 0, warmth / count.clamp(min=1), 0.0)
        push = (share * 2 * inverse)[:, None, None]
        outflow = push * kernel.sum(2, keepdim=True)
        return {
            k: ((kernel @ (flat[k] + push * v) - outflow * v) / v.shape[1]).view_as(gradients[k])
            for k, v in places.items()
        }

    def update(self, name: str, step: int, value: Tensor, gradient: Tensor, slot: Any) -> tuple[Tensor, Any]:
        """The parameter's next value; the rule keeps no state."""
        return value - rate_at(self.lr, network_name(name), step) * gradient, slot


def rbf(products: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel `[T, P, P]` between particles and 1 / h `[T]`, from their inner products `[T, P, P]`.

    1 / h is 0 if most pairs coincide up to rounding, since there is then no direction in which to repel them.
    """
    size = products.shape[1]
    square = products.diagonal(dim1=1, dim2=2)
    distance = (square[:, :, None] + square[:, None, :] - 2 * products).clamp(min=0)
    if size == 1:
        return torch.ones_like(products), products.new_zeros(len(products))
    above = torch.triu_indices(size, size, 1, device=products.device)
    middle = distance[:, above[0], above[1]].median(1).values
    apart = middle > 8 * torch.finfo(middle.dtype).eps * square.detach().mean(1)
    inverse = torch.where(apart, math.log(size) / torch.where(apart, middle, 1.0), 0.0)
    return (-distance * inverse[:, None, None]).exp(), inverse
