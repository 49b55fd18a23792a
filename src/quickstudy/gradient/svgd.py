"""Stein variational gradient descent (Liu and Wang 2016, arXiv 1608.04471), as an inner rule."""

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_number
from quickstudy.data import Examples
from quickstudy.inner.rates import Rated, check_rate, rate_at, said
from quickstudy.nets.particles import own_name


@final
class SVGD(nn.Module):
    """Particles go down the loss together, and away from each other (algorithm 1):

        theta_i' = theta_i - lr/P sum_j [k(theta_j, theta_i) grad L(theta_j) - c/N grad_theta_j k(theta_j, theta_i)],

    k = exp(-|theta_j - theta_i|^2 / h), h = median^2 / log P over the pairs. With L the mean loss over N points, a
    negative log-likelihood, and c = 1 this is the paper's step of size lr/N towards the posterior under a flat prior;
    another temperature c goes towards exp(-N L / c).

    Every adapted parameter has the particles as its first axis, `[P, *shape]`; see `Particles`. No points, no step.

    Args:
        lr: as for `optimizers.SGD`; parameters have the names of the network, and all particles the same rates.
        temperature: c, at least 0; an `nn.Parameter` is meta-learned, and counts as 0 below it.

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
        return f"lr={said(self.lr)}, temperature={said(self.temperature)}"

    def direct(self, values: dict[str, Tensor], gradients: dict[str, Tensor], data: Any) -> dict[str, Tensor]:
        """What the particles move against, in place of their gradients `[T, P, *shape]`.

        Args:
            values: of the parameters, `[T, P, *shape]`, or `[P, *shape]` where tasks still share them.
            gradients: of the mean loss.
            data: the points of the step; N is counted in `Examples`, and 1 for anything else.
        """
        flat = {k: g.flatten(2) for k, g in gradients.items()}
        places = {k: values[k].expand_as(g).flatten(2) for k, g in gradients.items()}
        places = {k: v - v.mean(1, keepdim=True) for k, v in places.items()}  # distances stay, and are more exact
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
        """The parameter's next value; there is nothing to remember."""
        return value - rate_at(self.lr, own_name(name), step) * gradient, slot


def rbf(products: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel `[T, P, P]` between particles and 1 / h `[T]`, from their inner products `[T, P, P]`.

    Where most pairs coincide, to the precision of the numbers, there is no direction to push in: 1 / h is 0.
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
