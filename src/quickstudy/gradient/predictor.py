"""From an inner loop to predictions: tasks of unequal size, the adapted predictor, and its beliefs."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.checks import check_inputs, check_more, values_are_readable
from quickstudy.data import Examples, Tasks, by_size
from quickstudy.gradient.engines import exact_kernels
from quickstudy.gradient.unroll import Fast, InnerLoop, in_transform, mixes_points, without_trivial_mask
from quickstudy.learner import Functions, Predictive, check_generator, check_steps, check_task
from quickstudy.likelihoods import Likelihood


@dataclass(frozen=True)
class GradientPredictor:
    """Networks adapted to `T` tasks by gradient steps; made by the learners' `adapt`."""

    inner: InnerLoop
    fast: Fast
    support: Examples
    readout: Callable[[Tensor], Predictive]
    readapt: Callable[[Examples], "GradientPredictor"]

    def __call__(self, x: Tensor) -> Predictive:
        """The belief at `x [T, M, *dx]`."""
        check_inputs(x, self.support)
        buffers = {k: b.clone() for k, b in self.fast.buffers.items()}  # a prediction leaves no trace
        with exact():
            return self.readout(self.inner.outputs(Fast(self.fast.params, buffers), x))

    def append(self, examples: Examples) -> "GradientPredictor":
        """Adapted anew, from the meta-parameters, to the union of the support set and `examples`."""
        check_more(examples, self.support)
        return self.readapt(self.support.append(examples))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """Raises NotImplementedError: gradient steps give one function a task, not a distribution over them."""
        del n, generator
        raise NotImplementedError(
            "a gradient-based learner adapts to one function per task and has none to sample; "
            "use a learner with latent samples, such as NeuralProcess, or predictor.task(i) for the one function"
        )

    def task(self, i: int) -> nn.Module:
        """Task `i`'s adapted network as a plain module `[M, *dx] -> [M, dy]`."""
        i = check_task(i, self.support.num_tasks)
        network = copy.deepcopy(self.inner.network)
        state = {**self.fast.params, **self.fast.buffers}
        with torch.no_grad():
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                tensor.copy_(state[name][i])
        return network


def predictor(
    inner: InnerLoop,
    likelihood: Likelihood | None,
    support: Examples,
    steps: int,
    *,
    create_graph: bool,
    seed: int | None,
) -> GradientPredictor:
    """What `adapt` of the learners gives: the inner loop run on `support`, ready to predict.

    Args:
        seed: of dropout while adapting; None leaves torch's generators alone.
    """
    check_steps(steps)
    with exact(), seeded(seed, support.x.device):
        fast = adapt(inner, support, steps, create_graph=create_graph)

    def readapt(union: Examples) -> GradientPredictor:
        return predictor(inner, likelihood, union, steps, create_graph=create_graph, seed=seed)

    return GradientPredictor(inner, fast, support, reader(likelihood, support.y), readapt)


def adapt(inner: InnerLoop, support: Examples, steps: int, *, create_graph: bool) -> Fast:
    """The state of every task after `steps` steps, whatever their sizes.

    Padding is zeroed and weighs nothing. A network that mixes points sees tasks grouped by size, without padding.
    """
    support = without_trivial_mask(support)
    if support.mask is None or not _mixes(inner, support):
        return inner.adapt(support.clean(), steps, create_graph=create_graph)
    groups = by_size(support)
    parts = [inner.adapt(examples, steps, create_graph=create_graph) for _, (examples,) in groups]
    return _reassemble([index for index, _ in groups], parts)


def meta_losses(inner: InnerLoop, tasks: Tasks, steps: int) -> Tensor:
    """Each task's mean loss over its real query points after adapting to its support set, `[T]`.

    In training mode the network's running statistics become the mean over tasks of what the tasks left in theirs.
    """
    support, query = without_trivial_mask(tasks.support), without_trivial_mask(tasks.query)
    unequal = support.mask is not None or query.mask is not None
    if unequal and _mixes(inner, query):  # a property of the network: one try is enough, and a query is never empty
        groups = by_size(support, query)
    else:
        everything = torch.arange(support.num_tasks, device=support.x.device)
        groups = [(everything, (support.clean(), query.clean()))]
    losses, states = [], []
    for _, (known, asked) in groups:
        fast = inner.adapt(known, steps, create_graph=True)
        losses.append(inner.losses(fast, asked))
        states.append(fast)
    if inner.network.training and states[0].buffers and not in_transform():
        _keep_statistics(inner.network, states)
    if len(groups) == 1:
        return losses[0]
    return torch.cat(losses)[_inverse([index for index, _ in groups])]


def reader(likelihood: Likelihood | None, y: Tensor) -> Callable[[Tensor], Predictive]:
    """How the network's outputs are read: by the likelihood, or as the type of `y` says."""
    if likelihood is not None:
        return likelihood.predictive
    return predictive.Point if y.is_floating_point() else predictive.Categorical


def draw_seed(generator: torch.Generator | None) -> int | None:
    """A seed for torch's own random numbers (dropout), drawn from `generator`; None without one."""
    check_generator(generator)
    if generator is None:
        return None
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Torch's own random numbers from `seed`, and left as they were."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        torch.manual_seed(seed)
        yield


def exact() -> AbstractContextManager[None]:
    """Kernels with second derivatives, except while torch compiles (the caller sets them around the compiler)."""
    return nullcontext() if torch.compiler.is_compiling() else exact_kernels()


def _mixes(inner: InnerLoop, examples: Examples) -> bool:
    return values_are_readable(examples.x) and mixes_points(inner.network, examples)


def _reassemble(indices: list[Tensor], parts: list[Fast]) -> Fast:
    order = _inverse(indices)
    params = {k: torch.cat([part.params[k] for part in parts])[order] for k in parts[0].params}
    buffers = {k: torch.cat([part.buffers[k] for part in parts])[order] for k in parts[0].buffers}
    return Fast(params, buffers)


def _inverse(indices: list[Tensor]) -> Tensor:
    return torch.cat(indices).argsort()


def _keep_statistics(network: nn.Module, states: list[Fast]) -> None:
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            left = torch.cat([state.buffers[name] for state in states])
            buffer.copy_(left.mean(0) if left.is_floating_point() else left[0])
