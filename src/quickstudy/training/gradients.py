"""The meta-gradient that `fit` steps along, and the proof that compiling has not changed it."""

from torch import Tensor, nn

from quickstudy.chance import seed_noise
from quickstudy.compiling.compiled import Gradient, compilable, difference, meta_gradient, should_compile
from quickstudy.data import Tasks
from quickstudy.inner.loop import InnerLoop
from quickstudy.training.validation import is_own

VERIFY_EVERY = 1000  # steps


def decide(compile: bool | str, learner: nn.Module, steps: int, tasks: Tasks, *, fixed_sizes: bool) -> bool:
    """Whether to compile: as told, or for "auto" by shapes and step count alone.

    Raises:
        ValueError: if compilation is asked for and cannot be had.
    """
    if compile == "auto":
        return is_own(learner) and should_compile(learner, steps, tasks, fixed_sizes=fixed_sizes)
    if compile and not (is_own(learner) and compilable(learner)):
        raise ValueError(
            f"compile=True: {type(learner).__name__} cannot be compiled (it is not one of quickstudy's own, writes "
            "buffers or draws random numbers, or no C++ compiler was found); use compile=False or 'auto'"
        )
    return bool(compile)


def make_gradient(learner: nn.Module, compile: bool) -> Gradient:
    """A function of tasks giving `(loss, gradients)`, in the order of the parameters that require grad."""
    return meta_gradient(learner if is_own(learner) else _MetaLoss(learner), compile=compile)


def resolved_engine(learner: nn.Module) -> str | None:
    """What `engine="auto"` comes to for this learner's network; None for a learner without an inner loop."""
    inner = getattr(learner, "inner", None)
    return inner.known_engine() if isinstance(inner, InnerLoop) else None


def verification(learner: nn.Module, compiled: bool) -> dict[str, int] | None:
    """At which steps the inner loop is shown to agree with plain PyTorch, as `config.json` says it; None for never.

    A compiled meta-gradient is one graph, which is compared at the first step and stays what it is.
    """
    if not any(loop.verify for loop in _loops(learner)):
        return None
    return {"first": 0} if compiled else {"first": 0, "every": VERIFY_EVERY}


def verify_again(learner: nn.Module) -> None:
    """Have every inner loop of the learner show once more, at its next step, that it agrees with plain PyTorch."""
    for loop in _loops(learner):
        loop.verify_again()


def _loops(learner: nn.Module) -> list[InnerLoop]:
    return [value for value in vars(learner).values() if isinstance(value, InnerLoop)]


def attempt(learner: nn.Module, gradient: Gradient, tasks: Tasks, seed: int) -> tuple[Tensor, list[Tensor]]:
    """`gradient(tasks)`, leaving no trace in the learner's buffers; `seed` is of torch's own generators."""
    buffers = [buffer.clone() for buffer in learner.buffers()]
    seed_noise(seed, tasks.support.x.device)
    answer = gradient(tasks)
    for buffer, before in zip(learner.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return answer


def compare(learner: nn.Module, gradient: Gradient, tasks: Tasks, seed: int) -> None:
    """Raise RuntimeError unless the compiled `gradient` equals the eager one on `tasks`. Leaves no trace.

    Args:
        seed: of torch's own generators, for both.
    """
    exact = attempt(learner, make_gradient(learner, compile=False), tasks, seed)
    if (why := difference(exact, attempt(learner, gradient, tasks, seed))) is not None:
        raise RuntimeError(
            f"the compiled meta-gradient of {type(learner).__name__} is wrong on the first batch: {why}; train with "
            "compile=False"
        )


class _MetaLoss(nn.Module):
    """A learner of the user's own, whose `forward` may be anything, as a module whose `forward` is its meta-loss."""

    def __init__(self, learner: nn.Module):
        super().__init__()
        self.learner = learner

    def forward(self, tasks: Tasks) -> Tensor:
        loss: Tensor = self.learner.meta_loss(tasks)  # type: ignore[operator]
        if not loss.requires_grad:
            name = type(self.learner).__name__
            raise ValueError(f"meta_loss of {name} has no gradient; compute it from the parameters, without detaching")
        return loss
