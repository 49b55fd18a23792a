"""What every layer must do that normalises query points by support points."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from quickstudy.nets import MetaBatchNorm, TaskNorm
from quickstudy.nets.clock import at_step, playing, points_role, settle
from quickstudy.runs.rebuild.spec import from_spec, to_spec

LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "meta": MetaBatchNorm,
    "meta, no weight": lambda f: MetaBatchNorm(f, affine=False),
    "task, instance": TaskNorm,
    "task, layer": lambda f: TaskNorm(f, kind="layer"),
}
layers = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def exact() -> None:
    """Double precision."""
    torch.set_default_dtype(torch.float64)


def network(name: str) -> nn.Sequential:
    """Two such layers between convolutions."""
    make = LAYERS[name]
    body = nn.Sequential(nn.Conv1d(2, 3, 2), make(3), nn.Tanh(), nn.Conv1d(3, 3, 2), make(3), nn.Tanh())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(9, 2)).requires_grad_(True)


def both(net: nn.Module, support: Tensor, query: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
    """The outputs for the query points, after a pass over the support points."""
    net, weights = copy.deepcopy(net), dict(net.named_parameters()) if weights is None else weights
    with playing("support"):
        functional_call(net, weights, support)
    with playing("query"):
        return functional_call(net, weights, query)


@layers
def test_query_points_do_not_see_each_other(name: str) -> None:
    net, support, query = network(name), torch.randn(4, 2, 5), torch.randn(6, 2, 5)
    whole = both(net, support, query)
    changed = query.clone()
    changed[2] = 100.0
    torch.testing.assert_close(both(net, support, changed)[[0, 1, 3, 4, 5]], whole[[0, 1, 3, 4, 5]])
    torch.testing.assert_close(both(net, support, query[3:4]), whole[3:4])
    assert not torch.allclose(net(changed)[0], net(query)[0])  # outside of inner loops they do


@layers
def test_the_order_of_the_support_points_is_nothing_and_their_values_are_something(name: str) -> None:
    net, support, query = network(name), torch.randn(4, 2, 5), torch.randn(6, 2, 5)
    whole = both(net, support, query)
    torch.testing.assert_close(both(net, support[[2, 0, 3, 1]], query), whole)
    assert not torch.allclose(both(net, 2 * support, query), whole)


@layers
def test_vmap_equals_the_loop(name: str) -> None:
    net, support, query = network(name), torch.randn(5, 4, 2, 5), torch.randn(5, 6, 2, 5)
    weights = {k: p + 0.1 * torch.randn(5, *p.shape) for k, p in net.named_parameters()}
    together = torch.vmap(lambda w, s, q: both(net, s, q, w))(weights, support, query)
    for t in range(5):
        alone = both(net, support[t], query[t], {k: w[t] for k, w in weights.items()})
        torch.testing.assert_close(together[t], alone, rtol=1e-12, atol=1e-12)


@layers
def test_first_and_second_derivatives_are_those_of_finite_differences(name: str) -> None:
    """Of an inner step and a query loss, by all parameters and both sets of points: through the moments, that is."""
    net = network(name)
    names = list(dict(net.named_parameters()))

    def adapted_loss(support: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        weights = dict(zip(names, values, strict=True))
        with playing("support"):
            inner = functional_call(copy.deepcopy(net), weights, support).square().sum()
        slopes = torch.autograd.grad(inner, values, create_graph=True)
        moved = {k: v - 0.1 * g for k, v, g in zip(names, values, slopes, strict=True)}
        return both(net, support, query, moved).square().sum()

    points = (torch.randn(3, 2, 5, requires_grad=True), torch.randn(2, 2, 5, requires_grad=True))
    assert torch.autograd.gradcheck(adapted_loss, (*points, *net.parameters()))


@layers
def test_the_second_derivative_under_vmap_is_that_of_the_loop(name: str) -> None:
    """torch's own batch normalisation fails here."""
    net, support, query = network(name), torch.randn(4, 3, 2, 5), torch.randn(4, 2, 2, 5)
    own = dict(net.named_parameters())

    def meta_loss(weights: dict[str, Tensor], support: Tensor, query: Tensor) -> Tensor:
        def inner(w: dict[str, Tensor]) -> Tensor:
            with playing("support"):
                return functional_call(copy.deepcopy(net), w, support).square().sum()

        slopes = torch.func.grad(inner)(weights)
        return both(net, support, query, {k: w - 0.1 * slopes[k] for k, w in weights.items()}).square().sum()

    together = torch.vmap(meta_loss, (None, 0, 0))(own, support, query).sum()
    alone = torch.stack([meta_loss(own, support[t], query[t]) for t in range(4)]).sum()
    for got, expected in zip(*(torch.autograd.grad(v, list(own.values())) for v in (together, alone)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@layers
def test_a_layer_that_occurs_twice_keeps_the_moments_of_each_time(name: str) -> None:
    norm = LAYERS[name](3)
    shared = nn.Sequential(nn.Conv1d(3, 3, 1), norm, nn.Tanh(), nn.Conv1d(3, 3, 1), norm)
    apart = copy.deepcopy(shared)
    apart[4] = copy.deepcopy(norm)
    support, query = 3 + torch.randn(4, 3, 5), torch.randn(6, 3, 5)
    for _ in range(2):  # the second time on the same module: what was kept gives way
        with playing("support"):
            shared(support), apart(support)
        with playing("query"):  # several passes in one turn
            for points in (query, query[:2]):
                torch.testing.assert_close(shared(points), apart(points))
        assert len(norm.kept) == 2
        support = 1 - support


@layers
def test_query_points_without_a_support_pass_are_refused(name: str) -> None:
    net = network(name)
    with (
        playing("query"),
        pytest.raises(RuntimeError, match="none have passed through it; give the inner loop support"),
    ):
        net(torch.randn(3, 2, 5))


@layers
def test_a_checkpointed_part_is_refused_rather_than_wrong(name: str) -> None:
    net, support, query = network(name), torch.randn(4, 2, 5), torch.randn(6, 2, 5)
    outputs = []
    for role, x in (("support", support), ("query", query)):
        with playing(role):  # type: ignore[arg-type]
            outputs.append(checkpoint(net, x, use_reentrant=False))
    with pytest.raises(RuntimeError, match=r"torch.utils.checkpoint runs a .*Norm again"):
        outputs[1].sum().backward()


@layers
def test_outside_of_inner_loops_what_was_kept_plays_no_part(name: str) -> None:
    net, x = network(name), torch.randn(4, 2, 5)
    before = net(x)
    both(net, x, x), net.zero_grad()
    with playing("support"):
        net(torch.randn(4, 2, 5))
    assert torch.equal(net(x), before)
    net(x).sum().backward()


@layers
def test_a_settled_network_predicts_by_its_support_points(name: str) -> None:
    """As one task's adapted network, copied and pickled."""
    net, support, query = network(name), torch.randn(4, 2, 5), torch.randn(6, 2, 5)
    expected = both(net, support, query)
    with torch.no_grad(), playing("support"):
        net(support)
    settle(net, 3)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for made in (net, copy.deepcopy(net), torch.load(file, weights_only=False)):
        torch.testing.assert_close(made(query), expected)
        torch.testing.assert_close(made(query[:1]), expected[:1])


@layers
def test_bad_shapes_are_told(name: str) -> None:
    for shape in ((4, 2), (3,), (5, 4, 3)):
        with pytest.raises(ValueError, match=r"expected \[N, 3, \.\.\.\]"):
            LAYERS[name](3)(torch.randn(shape))
    with pytest.raises(ValueError, match="features=0"):
        type(LAYERS[name](3))(0)  # type: ignore[call-arg]


@layers
def test_layers_are_rebuilt_from_their_description(name: str) -> None:
    norm = LAYERS[name](3)
    again = from_spec(to_spec(norm))
    assert type(again) is type(norm) and to_spec(again) == to_spec(norm)
    again.load_state_dict(norm.state_dict())


def test_roles_nest_and_end() -> None:
    assert points_role() is None
    with playing("support"), at_step(2):
        with playing("query"):
            assert points_role() == "query"
            with playing(None):
                assert points_role() is None
        assert points_role() == "support"
    assert points_role() is None
    with pytest.raises(ValueError, match="role='target'; choose 'support', 'query'"), playing("target"):  # type: ignore[arg-type]
        pass
