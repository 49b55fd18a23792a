"""Matrix-free products with a Hessian, and conjugate gradients to solve linear systems with them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def hessian_vector_product(
    gradient: Sequence[Tensor | None], parameters: Sequence[Tensor], *, damping: float = 0.0
) -> Callable[[Tensor], Tensor]:
    """A function `v -> (H + damping I) v` of flat vectors, by a second backward pass (Pearlmutter 1994).

    Args:
        gradient: gradient of a scalar with its graph (`create_graph=True`), one tensor for each parameter; None for a
            parameter that the scalar does not depend on.
        parameters: the parameters.
        damping: number added to the diagonal of the Hessian H of the scalar.

    >>> w = torch.ones(2, requires_grad=True)
    >>> gradient = torch.autograd.grad((w**3).sum(), [w], create_graph=True)
    >>> hessian_vector_product(gradient, [w])(torch.tensor([1.0, 2.0]))
    tensor([ 6., 12.])
    """
    whole = flat(gradient, parameters)

    def product(vector: Tensor) -> Tensor:
        if not whole.requires_grad:  # the Hessian of a linear function is 0
            return damping * vector
        along = torch.autograd.grad(whole, parameters, vector, retain_graph=True, allow_unused=True)
        return flat(along, parameters) + damping * vector

    return product


class GaussNewton(NamedTuple):
    """The result of `gauss_newton`.

    Args:
        gradient: `J' u`, a flat vector.
        product: a function `v -> J' M J v` of flat vectors.
    """

    gradient: Tensor
    product: Callable[[Tensor], Tensor]


def gauss_newton(
    outputs: Sequence[Tensor],
    slope: Sequence[Tensor],
    divergence: Callable[[list[Tensor]], Tensor],
    parameters: Sequence[Tensor],
) -> GaussNewton:
    """A gradient `J' u`, and the Gauss-Newton approximation `J' M J` of a Hessian, from one graph.

    J is the Jacobian of the outputs by the parameters, and M the Hessian of the divergence by the outputs.
    Where the gradient of the divergence by the outputs is 0, as for the KL divergence of a distribution from itself,
    this is the Hessian of the divergence by the parameters (Schraudolph 2002; for policies Schulman et al. 2015, app.
    C), because the second derivatives of the outputs are multiplied by that gradient. It needs about half as many
    matrix products as `hessian_vector_product`, and is positive semidefinite where M is. J v is computed as the
    derivative of J' u by u, along v, as J' u is linear in u; its value is the gradient of a loss with slope u.

    Args:
        outputs: tensors with a graph to the parameters, which may go through an inner loop.
        slope: u, the gradient of a loss by the outputs.
        divergence: maps tensors of the outputs' shapes to a scalar.
        parameters: the parameters.

    >>> w = torch.ones(2, requires_grad=True)
    >>> found = gauss_newton([w**2], [torch.ones(2)], lambda out: (out[0] - 1).square().sum(), [w])
    >>> found.gradient, found.product(torch.tensor([1.0, 2.0]))
    (tensor([2., 2.]), tensor([ 8., 16.]))
    """
    probes = [u.detach().clone().requires_grad_() for u in slope]
    pulled = torch.autograd.grad(outputs, parameters, probes, create_graph=True, allow_unused=True)
    found = [(p, g) for p, g in zip(parameters, pulled, strict=True) if g is not None]
    here = [o.detach().requires_grad_() for o in outputs]
    bend = torch.autograd.grad(divergence(here), here, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        parts = zip(parameters, vector.split([p.numel() for p in parameters]), pulled, strict=True)
        along = [v.view_as(p) for p, v, g in parts if g is not None]
        pushed = torch.autograd.grad([g for _, g in found], probes, along, retain_graph=True)
        pushed = torch.autograd.grad(bend, here, pushed, retain_graph=True)
        return flat(torch.autograd.grad(outputs, parameters, pushed, retain_graph=True, allow_unused=True), parameters)

    return GaussNewton(flat(pulled, parameters).detach(), product)


class Solution(NamedTuple):
    """The result of `conjugate_gradient`.

    Args:
        x: the approximate solution.
        image: `product(x)`, at no extra cost.
    """

    x: Tensor
    image: Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], vector: Tensor, *, iterations: int = 10, tolerance: float = 1e-10
) -> Solution:
    """Solve `product(x) = vector` for x by conjugate gradients (Hestenes and Stiefel 1952).

    The iteration also stops, with the x so far, if it finds a direction in which `product` is not positive.

    Args:
        product: a symmetric positive definite matrix, as a function of flat vectors.
        vector: the right-hand side.
        iterations: the largest number of iterations.
        tolerance: stop when the squared residual is below this multiple of its initial value.

    >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradient(lambda v: matrix @ v, torch.tensor([3.0, 4.0])).x.round(decimals=3)
    tensor([1., 1.])
    """
    x, residual, direction = torch.zeros_like(vector), vector.clone(), vector.clone()
    whole = torch.zeros_like(vector)
    size = start = float(residual.dot(residual))
    for _ in range(iterations):
        if not size > tolerance * start:
            break
        image = product(direction)
        curvature = float(direction.dot(image))
        if not curvature > 0:
            break
        x, whole = x + (size / curvature) * direction, whole + (size / curvature) * image
        residual = residual - (size / curvature) * image
        fresh = float(residual.dot(residual))
        direction, size = residual + (fresh / size) * direction, fresh
    return Solution(x, whole)


def flat(tensors: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """The tensors concatenated to one vector; None stands for zeros in the shape of the parameter."""
    pairs = zip(tensors, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if t is None else t).reshape(-1) for t, p in pairs])
