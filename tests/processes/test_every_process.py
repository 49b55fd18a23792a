"""What holds for every neural process: its state, and inputs at the edge of what is allowed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from learner_table import PROCESSES, Lines, made
from torch import Tensor

import quickstudy as qs
from quickstudy.data import Examples, Tasks

every_process = pytest.mark.parametrize("name", PROCESSES)


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def predicted(process: Any, state: Any, x: Tensor) -> Tensor:
    """The mean of the belief, whose latents are always the same."""
    draws = {} if process.deterministic else {"generator": torch.Generator().manual_seed(1)}
    mean: Tensor = process.predict(state, x, **draws).mean
    return mean


@every_process
def test_the_state_of_a_union_is_that_of_its_parts(name: str, tasks: Tasks) -> None:
    process, support = made(name), tasks.support
    parts = [Examples(support.x[:, a:b], support.y[:, a:b]) for a, b in ((0, 0), (0, 2), (2, 2), (2, 3), (3, 5))]
    state = process.encode(parts[0])
    for part in parts[1:]:
        state = process.append(state, part)
    whole = process.encode(support)
    assert torch.equal(state.seen, whole.seen) and type(state) is type(whole)
    assert all(len(part) == 3 for part in whole)
    torch.testing.assert_close(predicted(process, state, tasks.query.x), predicted(process, whole, tasks.query.x))
    adapted = process.adapt(support, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(adapted(tasks.query.x).mean, predicted(process, whole, tasks.query.x))
    nothing = predicted(process, process.encode(parts[0]), tasks.query.x)
    assert (nothing - adapted(tasks.query.x).mean).abs().max() > 1e-3  # so the support set matters


@every_process
def test_points_that_are_appended_with_padding(name: str, tasks: Tasks) -> None:
    process, support = made(name), tasks.support
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    dirty = support.x[:, 2:].masked_fill(~mask[..., None], torch.nan), support.y[:, 2:].masked_fill(~mask[..., None], 9)
    state = process.append(process.encode(support.first(2)), Examples(*dirty, mask))
    assert state.seen.tolist() == [4, 5, 2]
    for i, count in enumerate(state.seen.tolist()):
        alone = process.encode(support.select(i).first(count))
        x = tasks.query.x[[i]]
        if process.deterministic:
            torch.testing.assert_close(predicted(process, state, tasks.query.x)[[i]], predicted(process, alone, x))


@every_process
def test_a_support_set_that_is_all_padding_gives_the_prior(name: str, tasks: Tasks) -> None:
    process, support = made(name), tasks.support
    nothing = Examples(
        torch.full_like(support.x, torch.nan), torch.full_like(support.y, torch.nan), support.x[..., 0] > 9
    )
    found, prior = (predicted(process, process.encode(s), tasks.query.x) for s in (nothing, support.first(0)))
    torch.testing.assert_close(found, prior)
    process.meta_loss(tasks._replace(support=nothing)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in process.parameters())


@every_process
def test_odd_inputs_give_finite_beliefs(name: str, tasks: Tasks) -> None:
    process, support = made(name), tasks.support
    cases = {
        "the same input twice, with other outputs": support._replace(x=torch.zeros_like(support.x)),
        "far outside": support._replace(x=support.x + 50),
        "large outputs": support._replace(y=support.y * 1e3),
        "one point": support.first(1),
    }
    for words, odd in cases.items():
        for x in (tasks.query.x, tasks.query.x + 50, odd.x):
            draws = {} if process.deterministic else {"generator": torch.Generator().manual_seed(1)}
            belief = process.predict(process.encode(odd), x, **draws)
            log_prob = belief.log_prob(torch.zeros_like(belief.mean))
            assert belief.mean.isfinite().all() and (belief.variance > 0).all() and log_prob.isfinite().all(), words


@every_process
def test_no_query_points(name: str, tasks: Tasks) -> None:
    process, none = made(name), tasks.query.first(0)
    belief = process.adapt(tasks.support)(none.x)
    assert belief.mean.shape == belief.variance.shape == (3, 0, 1) and belief.sample(2).shape == (2, 3, 0, 1)
    assert belief.log_prob(none.y).shape == (3, 0)
    assert torch.equal(belief.log_prob(none.y, joint=True), torch.zeros(3))


DEFAULTS = [qs.CNP, qs.NeuralProcess, qs.AttentiveCNP, qs.AttentiveNP, qs.RelativeCNP, qs.ConvCNP, qs.TNP, qs.IncTNP]


OTHERS = [qs.LBANP, qs.TETNP, qs.TNPA, qs.TNPND, qs.FlowNP]


@pytest.mark.parametrize("make", [*DEFAULTS, *OTHERS, qs.BootstrappingNP, qs.BootstrappingANP, qs.ConvNP])
def test_the_first_losses_are_small(make: Callable[[], Any]) -> None:
    """With the default sizes. The density of the tasks under the prior is some 1.5 nats a point."""
    torch.set_default_dtype(torch.float32)
    for seed in range(3):
        torch.manual_seed(seed)
        batch = qs.tasks.Sinusoid().sample(8, support=10, query=10, generator=torch.Generator().manual_seed(seed))
        assert make().meta_loss(batch) < 12


@every_process
def test_several_outputs_and_inputs(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = Lines().sample(2, support=5, query=4, generator=generator)
    wide = [Examples(torch.cat([p.x, p.x.square()], -1), torch.cat([p.y, -p.y, p.x], -1)) for p in batch[:2]]
    small = PROCESSES[name]()
    sizes = {**small.config(), "dx": 2, "dy": 3}
    torch.manual_seed(0)
    process = type(small)(**sizes)
    belief = process.adapt(wide[0])(wide[1].x)
    assert belief.mean.shape == (2, 4, 3) and belief.log_prob(wide[1].y).shape == (2, 4)
    process.meta_loss(Tasks(*wide)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
