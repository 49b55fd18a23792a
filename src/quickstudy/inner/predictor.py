"""From an inner loop to predictions: predictors of adapted networks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quickstudy import predictive
from quickstudy.checks import check_inputs, check_more
from quickstudy.data import Examples, Tasks
from quickstudy.inner.adapted import Adapted
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.modules.purity import reseed
from quickstudy.inner.modules.support import needs_support
from quickstudy.inner.transforms import exact_kernels, in_transform
from quickstudy.learner import Functions, Predictive, check_generator, check_steps
from quickstudy.likelihoods import Likelihood


@dataclass(frozen=True)
class GradientPredictor:
    """Predictions of networks adapted to `T` tasks by gradient steps; made by the learners' `adapt`."""

    adapted: Adapted
    support: Examples
    readout: Callable[[Tensor], Predictive]
    readapt: "Readapt"

    def __call__(self, x: Tensor) -> Predictive:
        """The belief at `x [T, M, *dx]`."""
        check_inputs(x, self.support)
        return self.readout(self.adapted(x))

    def append(self, examples: Examples) -> "GradientPredictor":
        """The predictor for the union of support set and `examples`, adapted again from the meta-parameters."""
        check_more(examples, self.support)
        return self.readapt(self.support.append(examples))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Functions:
        """Raises NotImplementedError: gradient steps give one function per task, not a distribution over functions."""
        del n, generator
        raise NotImplementedError(
            "a gradient-based learner adapts to one function per task and has none to sample; "
            "use a learner with latent samples, such as NeuralProcess, or predictor.task(i) for the one function"
        )

    def task(self, i: int) -> nn.Module:
        """Task `i`'s adapted network as a plain module `[M, *dx] -> [M, dy]`."""
        return self.adapted.module(i)


@dataclass(frozen=True)
class Readapt:
    """Adapts again to another support set, with the arguments of the first `predictor` call."""

    inner: InnerLoop
    likelihood: Likelihood | None
    steps: int
    create_graph: bool
    chunk: int | None
    seed: int | None

    def __call__(self, support: Examples) -> GradientPredictor:
        """The predictor for `support`."""
        return predictor(
            self.inner,
            self.likelihood,
            support,
            self.steps,
            create_graph=self.create_graph,
            chunk=self.chunk,
            seed=self.seed,
        )


def predictor(
    inner: InnerLoop,
    likelihood: Likelihood | None,
    support: Examples,
    steps: int,
    *,
    create_graph: bool,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    seed: int | None = None,
) -> GradientPredictor:
    """The result of a learner's `adapt`: a predictor after running the inner loop on `support`.

    Args:
        inner: the inner loop.
        likelihood: turns outputs into beliefs; None for predictions without a density.
        support: the points of `T` tasks.
        steps: number of inner steps.
        create_graph: keep the graph back to the meta-parameters.
        generator: randomness of dropout and minibatches while adapting; torch's own by default.
        chunk: number of tasks that adapt at a time; all by default.
        seed: takes the place of a generator.
    """
    check_steps(steps)
    seed = draw_seed(generator) if seed is None else seed
    with seeded(seed, support.x.device):
        order = None if seed is None else torch.Generator(device=support.x.device).manual_seed(seed)
        seen = _seen(inner, support, steps)
        adapted = in_chunks(inner, seen, steps, chunk, create_graph=create_graph, generator=order)

    readapt = Readapt(inner, likelihood, steps, create_graph, chunk, seed)
    return GradientPredictor(adapted, support, reader(likelihood, support.y), readapt)


def _seen(inner: InnerLoop, support: Examples, steps: int) -> Examples:
    """The points that the networks see: none after 0 steps, so that layers that use them predict the prior."""
    return support.first(0)._replace(mask=None) if steps == 0 and needs_support(inner.network) else support


def in_chunks(
    inner: InnerLoop,
    support: Examples,
    steps: int,
    chunk: int | None,
    *,
    create_graph: bool,
    generator: torch.Generator | None,
) -> Adapted:
    """The result of the inner loop, run on `chunk` tasks at a time."""
    num_tasks = support.num_tasks
    if chunk is None or chunk >= num_tasks:
        return inner(support, steps=steps, create_graph=create_graph, generator=generator)
    parts = []
    starts = range(0, num_tasks, chunk)
    with inner.replaying(len(starts)) as again:
        for first in starts:
            again()
            places = torch.arange(first, min(first + chunk, num_tasks))
            found = inner(support.select(places), steps=steps, create_graph=create_graph, generator=generator)
            parts += [p._replace(places=places if p.places is None else places[p.places.cpu()]) for p in found.parts]
    return replace(found, parts=tuple(parts), num_tasks=num_tasks)


def meta_losses(inner: InnerLoop, tasks: Tasks, steps: int, weights: Sequence[float] = ()) -> Tensor:
    """Each task's mean loss over its real query points after adapting to its support set, `[T]`.

    In training mode the network's running statistics become the mean over tasks of each task's statistics.

    Args:
        inner: the inner loop.
        tasks: a batch of `T` tasks.
        steps: number of inner steps.
        weights: of the losses after 1, 2, ... `steps` steps; by default only the last counts.
    """
    path: list[Adapted] = []
    with exact_kernels():  # here once, so that inner calls need not switch
        support = _seen(inner, tasks.support, steps)
        adapted = inner(support, steps=steps, each=path.append if any(weights[:-1]) else None)
        losses = query_losses(adapted, tasks.query)
        if not path:
            return losses
        early = [w * a.losses(tasks.query) for w, a in zip(weights[:-1], path, strict=False) if w]
        return weights[-1] * losses + torch.stack(early).sum(0)


def query_losses(adapted: Adapted, query: Examples) -> Tensor:
    """Each task's mean loss over its real query points, `[T]`; running statistics change as in `meta_losses`."""
    network = adapted.problem.network
    losses, left = adapted.run(adapted.problem.point_loss, query)
    if network.training and left[0] and not in_transform():
        _keep_statistics(network, left)
    return losses


def reader(likelihood: Likelihood | None, y: Tensor) -> Callable[[Tensor], Predictive]:
    """The function from outputs to beliefs: the likelihood's, or by default the one for the dtype of `y`."""
    if likelihood is not None:
        return likelihood.predictive
    return predictive.Point if y.is_floating_point() else predictive.Categorical


def draw_seed(generator: torch.Generator | None) -> int | None:
    """A seed for torch's own random numbers (dropout), drawn from `generator`; None if there is no generator."""
    check_generator(generator)
    if generator is None:
        return None
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """A context in which torch's own random numbers start from `seed`; afterwards the generators are as before."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        reseed(seed)
        yield


def _keep_statistics(network: nn.Module, left: list[dict[str, Tensor]]) -> None:
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name not in left[0]:  # sparse buffers, which all passes share
                continue
            found = torch.cat([buffers[name] for buffers in left])
            buffer.copy_(found.mean(0) if found.is_floating_point() else found[0])
