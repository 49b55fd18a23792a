"""Updates of the parameters: clip the gradient, set the rate, step."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.runs.optimizer_state import load_optimizer
from quickstudy.training.schedules import Schedule

OptimizerMaker = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Updates:
    """Applies gradients to a learner's parameters.

    Args:
        learner: the learner; its parameters that require grad are trained.
        lr: learning rate of Adam; not used if `optimizer` is given.
        optimizer: function parameters -> `torch.optim.Optimizer`; by default Adam (fused where torch has it).
        schedule: function step -> factor on the optimiser's own rates.
        clip: largest norm of the whole gradient; larger ones are scaled down to it.

    Raises:
        TypeError, ValueError: if `optimizer` returns something that cannot be used.
    """

    def __init__(
        self,
        learner: nn.Module,
        *,
        lr: float,
        optimizer: OptimizerMaker | None = None,
        schedule: Schedule,
        clip: float | None = None,
    ):
        self.params = [p for p in learner.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(self.params, lr, optimizer)
        alike = len({(p.device, p.dtype) for p in self.params}) == 1
        self._one_kernel = optimizer is None and alike and self._optimizer.defaults["fused"]
        self._one_kernel = self._one_kernel and hasattr(torch, "_fused_adam_")
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._schedule, self._clip = schedule, clip

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """Return the norm of the whole gradient, a scalar."""
        # half the time of torch.nn.utils.get_total_norm, which groups by device and type first
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))

    def apply(self, step: int, gradients: list[Tensor], norm: Tensor) -> None:
        """Update the parameters with the gradients of `step`, whose norm is `norm`."""
        if self._clip is not None:
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        for parameter, gradient in zip(self.params, gradients, strict=True):
            parameter.grad = gradient
        factor = self._schedule(step)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._step()
        for parameter in self.params:
            parameter.grad = None

    def _step(self) -> None:
        state = self._optimizer.state
        if not self._one_kernel or not all(p in state for p in self.params):
            self._optimizer.step()
            return
        # calls the kernel that step() ends in, with its arguments: step() takes 97 microseconds, of which it needs 27
        own = [state[p] for p in self.params]
        moments, squares, counts = ([s[k] for s in own] for k in ("exp_avg", "exp_avg_sq", "step"))
        grads: list[Any] = [p.grad for p in self.params]
        (group,) = self._optimizer.param_groups
        beta1, beta2 = group["betas"]
        how = {"lr": group["lr"], "beta1": beta1, "beta2": beta2, "eps": group["eps"], "weight_decay": 0.0}
        with torch.no_grad():
            torch._foreach_add_(counts, 1)
            torch._fused_adam_(
                list(self.params), grads, moments, squares, [], counts, **how, amsgrad=False, maximize=False
            )

    @property
    def lr(self) -> float:
        """The rate of the last update (of the first parameter group)."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the optimiser. Raises ValueError for a state that it cannot have saved."""
        load_optimizer(self._optimizer, state)


def adam(params: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Return Adam with torch's defaults, fused if every parameter allows it."""
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in params)
    return torch.optim.Adam(params, lr=lr, fused=fused)


def make_optimizer(params: list[nn.Parameter], lr: float, optimizer: OptimizerMaker | None) -> torch.optim.Optimizer:
    """Return `optimizer(params)`, or Adam with the rate `lr` if `optimizer` is None.

    Raises:
        TypeError, ValueError: if the result cannot be used.
    """
    check_maker(optimizer)
    return adam(params, lr) if optimizer is None else _checked(optimizer(params))


def check_maker(optimizer: Any) -> None:
    """Raise TypeError unless `optimizer` is a function, or None."""
    if optimizer is not None and not callable(optimizer):
        given = repr(optimizer) if isinstance(optimizer, str) else f"an {type(optimizer).__name__} object"
        raise TypeError(f"optimizer={given}; expected a callable: parameters -> torch.optim.Optimizer")


def _checked(optimizer: Any) -> torch.optim.Optimizer:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer made a {type(optimizer).__name__}; expected a torch.optim.Optimizer")
    name = type(optimizer).__name__
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(f"optimizer made a {name}, which evaluates the loss itself; use one that does not")
    if not all("lr" in group for group in optimizer.param_groups):
        raise ValueError(f"optimizer made a {name} without a rate 'lr' in each parameter group; give it one")
    return optimizer
