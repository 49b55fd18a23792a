"""The meta-gradient for `fit`, and the check that compiling has not changed it."""

from torch import Tensor, nn

from quickstudy.chance import seed_noise
from quickstudy.compiling.compiled import Gradient, compilable, difference, meta_gradient, should_compile
from quickstudy.data import Tasks
from quickstudy.inner.loop import InnerLoop
from quickstudy.training.batches import Size
from quickstudy.training.buckets import Buckets
from quickstudy.training.validation import is_own

VERIFY_EVERY = 1000  # steps


def decide(compile: bool | str, learner: nn.Module, steps: int, tasks: Tasks, *, fixed_sizes: bool) -> bool:
    """Return whether to compile: as requested, or for "auto" by shapes and number of steps.

    Raises:
        ValueError: if compilation is requested but not possible.
    """
    if compile == "auto":
        return is_own(learner) and should_compile(learner, steps, tasks, fixed_sizes=fixed_sizes)
    if compile and not (is_own(learner) and compilable(learner)):
        raise ValueError(
            f"compile=True: {type(learner).__name__} cannot be compiled (it is not one of quickstudy's own, writes "
            "buffers or draws random numbers, or no C++ compiler was found); use compile=False or 'auto'"
        )
    return bool(compile)


def make_gradient(learner: nn.Module, compile: bool, buckets: Buckets | None = None) -> Gradient:
    """Return a function tasks -> `(loss, gradients)`, with gradients of the parameters that require grad, in order.

    Args:
        learner: the learner.
        compile: compile the meta-gradient.
        buckets: pads batches of many sizes to a few, if they are compiled.
    """
    gradient = meta_gradient(learner if is_own(learner) else _MetaLoss(learner), compile=compile)
    if not compile or buckets is None:
        return gradient
    return lambda tasks: gradient(buckets(tasks))


def buckets_of(learner: nn.Module, support: Size, query: Size) -> Buckets | None:
    """Return the sizes to which a compiled process pads batches of many sizes; None where they have one layout."""
    varied = any(isinstance(size, tuple) and size[0] != size[1] for size in (support, query))
    return Buckets.of(support, query) if varied and hasattr(learner, "encode") else None


def resolved_engine(learner: nn.Module) -> str | None:
    """Return the engine that `engine="auto"` chooses for this learner's network; None without an inner loop."""
    inner = getattr(learner, "inner", None)
    return inner.known_engine() if isinstance(inner, InnerLoop) else None


def verification(learner: nn.Module, compiled: bool) -> dict[str, int] | None:
    """Return the steps at which the inner loop is compared with plain PyTorch, for `config.json`; None for never.

    A compiled meta-gradient is one fixed graph, which is compared only at the first step.
    """
    if not any(loop.verify for loop in _loops(learner)):
        return None
    return {"first": 0} if compiled else {"first": 0, "every": VERIFY_EVERY}


def verify_again(learner: nn.Module) -> None:
    """Make every inner loop of the learner compare itself with plain PyTorch again at its next step."""
    for loop in _loops(learner):
        loop.verify_again()


def _loops(learner: nn.Module) -> list[InnerLoop]:
    return [value for value in vars(learner).values() if isinstance(value, InnerLoop)]


def attempt(learner: nn.Module, gradient: Gradient, tasks: Tasks, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Return `gradient(tasks)` and restore the learner's buffers; `seed` seeds torch's own generators."""
    buffers = [buffer.clone() for buffer in learner.buffers()]
    seed_noise(seed, tasks.support.x.device)
    answer = gradient(tasks)
    for buffer, before in zip(learner.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return answer


def compare(learner: nn.Module, gradient: Gradient, tasks: Tasks, seed: int) -> None:
    """Raise RuntimeError unless the compiled `gradient` equals the eager one on `tasks`. The learner is unchanged.

    Args:
        learner: the learner.
        gradient: its compiled meta-gradient.
        tasks: the tasks to compare on.
        seed: seed of torch's own generators, for both.
    """
    exact = attempt(learner, make_gradient(learner, compile=False), tasks, seed)
    if (why := difference(exact, attempt(learner, gradient, tasks, seed))) is not None:
        raise RuntimeError(
            f"the compiled meta-gradient of {type(learner).__name__} is wrong on the first batch: {why}; train with "
            "compile=False"
        )


class _MetaLoss(nn.Module):
    """A module whose `forward` is the meta-loss of a user's learner, whose own `forward` may be anything."""

    def __init__(self, learner: nn.Module):
        super().__init__()
        self.learner = learner

    def forward(self, tasks: Tasks) -> Tensor:
        loss: Tensor = self.learner.meta_loss(tasks)  # type: ignore[operator]
        if not loss.requires_grad:
            name = type(self.learner).__name__
            raise ValueError(f"meta_loss of {name} has no gradient; compute it from the parameters, without detaching")
        return loss
