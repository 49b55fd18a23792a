"""The meta-gradient that `fit` steps along, and the proof that compiling has not changed it."""

import torch
from torch import Tensor, nn

from quickstudy.compiled import Gradient, compilable, meta_gradient, should_compile
from quickstudy.data import Tasks
from quickstudy.gradient.engines import choose
from quickstudy.gradient.unroll import InnerLoop
from quickstudy.training.validation import seed_noise, unchecked_loss

TOLERANCE = 1e-3  # float32 kernels that add in another order differ by 1e-6; a lost second-order term by 1e-2 and more


def decide(compile: bool | str, learner: nn.Module, steps: int, tasks: Tasks, *, fixed_sizes: bool) -> bool:
    """Whether to compile: as told, or for "auto" by shapes and step count alone.

    Raises:
        ValueError: if compilation is asked for and cannot be had.
    """
    if compile == "auto":
        return has_forward(learner) and should_compile(learner, steps, tasks, fixed_sizes=fixed_sizes)
    if compile and not (has_forward(learner) and compilable(learner)):
        raise ValueError(
            f"compile=True: {type(learner).__name__} cannot be compiled (it writes buffers, draws random numbers or "
            "has no forward(tasks), or no C++ compiler was found); use compile=False or 'auto'"
        )
    return bool(compile)


def make_gradient(learner: nn.Module, compile: bool) -> Gradient:
    """A function of tasks giving `(loss, gradients)`, in the order of the parameters that require grad."""
    if compile or has_forward(learner):
        return meta_gradient(learner, compile=compile)
    params = [p for p in learner.parameters() if p.requires_grad]

    def eager(tasks: Tasks) -> tuple[Tensor, list[Tensor]]:
        loss = learner.meta_loss(tasks)  # type: ignore[operator]
        found = torch.autograd.grad(loss, params, allow_unused=True)
        return loss.detach(), [torch.zeros_like(p) if g is None else g for g, p in zip(found, params, strict=True)]

    return eager


def resolved_engine(learner: nn.Module) -> str | None:
    """What `engine="auto"` comes to for this learner's network; None for a learner without an inner loop."""
    inner = getattr(learner, "inner", None)
    return choose(inner.engine, inner.network) if isinstance(inner, InnerLoop) else None


def has_forward(learner: nn.Module) -> bool:
    """Whether the learner has a `forward(tasks)`; one of the user's own may have `meta_loss` only."""
    return unchecked_loss(learner) is learner


def compare(learner: nn.Module, gradient: Gradient, tasks: Tasks, seed: int) -> None:
    """Raise RuntimeError unless the compiled `gradient` equals the eager one on `tasks`. Leaves no trace.

    Args:
        seed: of torch's own generators, for both.
    """
    buffers = [buffer.clone() for buffer in learner.buffers()]
    answers = []
    for function in (make_gradient(learner, compile=False), gradient):
        seed_noise(seed, tasks.support.x.device)
        answers.append(function(tasks))
        for buffer, before in zip(learner.buffers(), buffers, strict=True):
            buffer.copy_(before)
    (loss, exact), (compiled_loss, compiled) = answers
    size = torch.nn.utils.get_total_norm(exact).item()
    apart = torch.nn.utils.get_total_norm([a - b for a, b in zip(exact, compiled, strict=True)]).item()
    loss_apart = abs(loss.item() - compiled_loss.item())
    if not (apart <= TOLERANCE * size + 1e-8 and loss_apart <= TOLERANCE * abs(loss.item()) + 1e-8):
        raise RuntimeError(
            f"the compiled meta-gradient of {type(learner).__name__} is wrong on the first batch: its error is "
            f"{apart:.1e} beside a norm of {size:.1e} (the loss's: {loss_apart:.1e}); train with compile=False"
        )
