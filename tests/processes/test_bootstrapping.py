"""Bootstraps of a support set against their definition, one point after another."""

from typing import Any

import pytest
import torch
from learner_table import Lines, made, masked
from torch import Tensor
from torch.distributions import Normal

from quickstudy.chance import keyed, keys, new_keys
from quickstudy.data import Examples, Tasks
from quickstudy.processes.bootstrapping_np import BootstrappingANP, BootstrappingNP

both = pytest.mark.parametrize("name", ["BootstrappingNP", "BootstrappingANP"])


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def tasks() -> Tasks:
    return Lines().sample(3, support=5, query=4, generator=torch.Generator().manual_seed(0))


def plain(process: Any, points: Examples, x: Tensor, *, adapted: Tensor | float = 0.0) -> Normal:
    """The belief of the underlying conditional process for one task; `adapted` is added to the representation."""
    code = process.encoder.encode(points)
    r = process.encoder(code, x) if process.attention else code.mean()[:, None]
    mean, raw = process.decoder.at_points(r + adapted, x).chunk(2, -1)
    return Normal(mean, process.head.floor + torch.nn.functional.softplus(raw))


def own_bootstrap(process: Any, x: Tensor, y: Tensor, key: Tensor) -> Tensor:
    """Section 3 for one bootstrap of the points `x [N, dx]`, `y [N, dy]`."""
    n = len(x)
    first, second = (
        [(int(keyed(keyed(key, torch.tensor(stream)), torch.tensor(i))) % (1 << 64) >> 1) % n for i in range(n)]
        for stream in (0, 1)
    )
    belief = plain(process, Examples(x[None, first], y[None, first]), x[None])
    residuals = [(y[i] - belief.mean[0, i]) / belief.stddev[0, i] for i in range(n)]
    drawn = [residuals[second[i]] for i in range(n)]
    centre = sum(drawn) / n
    return torch.stack([belief.mean[0, i] + belief.stddev[0, i] * (drawn[i] - centre) for i in range(n)])


@both
def test_bootstraps_are_their_definition(name: str, tasks: Tasks) -> None:
    """Of unequal support sets, with padding in any place."""
    process: Any = made(name)
    mask = torch.tensor([[True, False, True, True, False], [True] * 5, [False] * 5])
    dirty = Examples(*(part.masked_fill(~mask[..., None], torch.nan) for part in tasks.support[:2]), mask)
    state = process.encode(dirty)
    drawn = new_keys((6, 3), torch.device("cpu"), torch.Generator().manual_seed(1))
    found = process.bootstrapped(state, drawn)
    assert found.shape == (6, 3, 5, 1) and not found[:, 2].any() and not found[:, 0, 3:].any()
    for i in (0, 1):
        x, y = (part[i, mask[i]] for part in tasks.support[:2])
        for s in range(6):
            torch.testing.assert_close(found[s, i, : len(x)], own_bootstrap(process, x, y, drawn[s, i]))
    assert found[:, :2].std(0).max() > 1e-3  # so bootstraps differ


@both
def test_the_loss_is_the_mean_of_both_likelihoods(name: str, tasks: Tasks) -> None:
    process: Any = made(name)
    torch.manual_seed(3)
    drawn = keys((4, 3), axis=1, device=torch.device("cpu"))
    x, y, query = tasks.support.x, tasks.support.y, tasks.query
    base = plain(process, tasks.support, query.x).log_prob(query.y)
    each = []
    for s in range(4):
        own = torch.stack([own_bootstrap(process, x[i], y[i], drawn[s, i]) for i in range(3)])
        code = process.encoder.encode(Examples(x, own))
        r = process.encoder(code, query.x) if process.attention else code.mean()[:, None]
        each.append(plain(process, tasks.support, query.x, adapted=process.adaptation(r)).log_prob(query.y))
    mixed = torch.stack(each).exp().mean(0).log()
    torch.manual_seed(3)
    torch.testing.assert_close(process.meta_loss(tasks), -(base + mixed).mean() / 2)


@both
def test_bootstraps_of_one_point_many_times_are_alike(name: str, tasks: Tasks) -> None:
    """Resampling changes nothing, all residuals are equal, and none is left after centring."""
    process: Any = made(name)
    once = tasks.support.first(1)
    many = Examples(once.x.expand(-1, 7, -1), once.y.expand(-1, 7, -1))
    drawn = new_keys((5, 3), torch.device("cpu"), torch.Generator().manual_seed(1))
    expected = plain(process, many, once.x).mean.expand(5, 3, 7, 1)
    torch.testing.assert_close(process.bootstrapped(process.encode(many), drawn), expected)
    for points in (many, once, once.first(0)):
        means = process.adapt(points)(tasks.query.x).means
        torch.testing.assert_close(means, means[:1].expand_as(means))


@both
def test_functions_are_members(name: str, tasks: Tasks) -> None:
    """With the same random numbers, and independently of the padding of the support set."""
    process: Any = made(name)
    padded = masked(tasks.support.append(tasks.query), [5, 5, 5])
    predictor = process.adapt(padded, generator=torch.Generator().manual_seed(0))
    functions = predictor.functions(process.samples, torch.Generator().manual_seed(0))
    torch.testing.assert_close(functions(tasks.query.x), predictor(tasks.query.x).means)
    exact = process.adapt(tasks.support, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(functions[1](tasks.query.x), exact(tasks.query.x).means[1])


def test_bad_options() -> None:
    with pytest.raises(TypeError, match="BootstrappingANP is BootstrappingNP with attention=True"):
        BootstrappingANP(attention=False)
    with pytest.raises(ValueError, match="train_samples=0"):
        BootstrappingNP(train_samples=0)
    with pytest.raises(ValueError, match="width=12 cannot be divided among heads=8"):
        BootstrappingANP(width=12)
