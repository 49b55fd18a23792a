"""Meta-Curvature (Park and Oliva 2019, arXiv 1902.03356)."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from quickstudy.checks import check_network
from quickstudy.gradient.maml import MAML
from quickstudy.inner.options import MAMLOptions
from quickstudy.inner.rates import Rated, check_rate, rate_at, rate_text


class Curvature(nn.Module):
    """The inner rule of Meta-Curvature: gradient descent along a learned linear map of the gradient.

    p' = p - lr * (g x_1 M_out x_2 M_in x_3 M_kernel),      with x_n the product along axis n (section 3).

    For the weight of a linear layer this is `M_out g M_in^T`, a Kronecker-factored matrix times the flattened gradient.
    The kernel positions of a convolution are flattened into the third axis. A parameter with one axis, such as a bias,
    is scaled elementwise. Every map is initially the identity, so that the rule starts as `SGD(lr)`.

    Args:
        network: the module whose parameters adapt, or `{name: shape}` of them.
        lr: as for `SGD`. Since the maps are learned, a fixed rate is enough.

    >>> rule = Curvature(nn.Linear(2, 3), lr=0.1)
    >>> rule.update("weight", 0, torch.ones(3, 2), torch.ones(5, 3, 2), None)[0].shape
    torch.Size([5, 3, 2])
    """

    linear = False  # low-rank weights can be multiplied by numbers only, not by matrices

    def __init__(self, network: nn.Module | Mapping[str, Sequence[int]], lr: Rated = 0.01):
        super().__init__()
        self.lr = check_rate(lr)
        like: dict[str, Any] = {}
        if isinstance(network, nn.Module):
            like = {k: {"dtype": p.dtype, "device": p.device} for k, p in network.named_parameters()}
            network = {k: list(p.shape) for k, p in network.named_parameters()}
        self.shapes = {k: list(shape) for k, shape in network.items()}
        self.maps = nn.ParameterDict()
        for name, shape in self.shapes.items():
            if len(shape) < 2:
                self.maps[_key(name, 0)] = nn.Parameter(torch.ones(shape, **like.get(name, {})))
                continue
            for axis, size in enumerate(_three(shape)):
                if axis < min(len(shape), 3):
                    self.maps[_key(name, axis)] = nn.Parameter(torch.eye(size, **like.get(name, {})))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"network": self.shapes, "lr": self.lr}

    def extra_repr(self) -> str:
        """The rate, and the size of the maps."""
        return f"lr={rate_text(self.lr)}, maps of {sum(p.numel() for p in self.maps.parameters())} numbers, learned"

    def update(self, name: str, step: int, value: Tensor, gradient: Tensor, slot: Any) -> tuple[Tensor, Any]:
        """The parameter's next value. `gradient` is `[T, *shape]`, or `[*shape]`."""
        return value - rate_at(self.lr, name, step) * self.transformed(name, gradient), slot

    def transformed(self, name: str, gradient: Tensor) -> Tensor:
        """The gradient of the parameter `name`, multiplied by its maps."""
        if name not in self.shapes:
            raise ValueError(f"there is no curvature for {name!r}; build Curvature with the network that is adapted")
        shape = self.shapes[name]
        if list(gradient.shape[gradient.dim() - len(shape) :]) != shape:
            raise ValueError(
                f"the curvature of {name!r} was built for a parameter of shape {shape}; build Curvature with the "
                "network that is adapted"
            )
        if len(shape) < 2:
            return gradient * self.maps[_key(name, 0)]
        lead = gradient.shape[: gradient.dim() - len(shape)]
        found = gradient.reshape(*lead, *_three(shape))
        found = torch.einsum("oa,...aif->...oif", self.maps[_key(name, 0)], found)
        found = torch.einsum("ia,...oaf->...oif", self.maps[_key(name, 1)], found)
        if len(shape) > 2:
            found = torch.einsum("fa,...oia->...oif", self.maps[_key(name, 2)], found)
        return found.reshape(gradient.shape)


def MetaCurvature(network: nn.Module, *, lr: Rated = 0.01, steps: int = 1, **options: Unpack[MAMLOptions]) -> MAML:
    """MAML whose inner gradients are multiplied by learned maps of outputs, inputs and kernel positions (section 3).

    theta' = theta - lr * M(grad L(theta; support));  theta and M are meta-learned, see `Curvature`. M is initially the
    identity, so that training starts as MAML. `learner.rule.maps` holds M.

    Args:
        network: as for `MAML`.
        lr: inner learning rate. Since M is learned, a fixed number is enough.
        steps, options: as for `MAML`, except `rule`.

    >>> import quickstudy as qs
    >>> learner = qs.MetaCurvature(qs.nets.MLP(1, [40, 40], 1), lr=0.01)
    >>> sum(p.numel() for p in learner.rule.parameters())
    6483
    """
    if "rule" in options:
        raise TypeError("MetaCurvature's rule is Curvature; for another, use MAML(network, rule=...)")
    rule: Any = Curvature(check_network(network), lr)
    options["rule"] = rule
    return MAML(network, steps=steps, **options)


def _three(shape: Sequence[int]) -> list[int]:
    """`[out, in, kernel positions]`."""
    out, into, *kernel = shape
    return [out, into, int(torch.Size(kernel).numel())]


def _key(name: str, axis: int) -> str:
    return f"{name}/{('out', 'in', 'kernel')[axis]}".replace(".", "/")
