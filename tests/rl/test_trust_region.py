"""Hessian products and conjugate gradients against dense algebra; line searches against functions that mislead them."""

import math

import pytest
import torch
from rl import made

import quickstudy as qs
from quickstudy.rl.conjugate import conjugate_gradient, gauss_newton, hessian_vector_product
from quickstudy.rl.decisions import decisions
from quickstudy.rl.estimation.estimators import InnerSurrogate
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
from quickstudy.rl.trust_region import Linearised, trust_region_step


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def network():
    """31 parameters and a KL-like function of them."""
    net = qs.nets.MLP(2, [5], 2, activation="tanh")
    extra = torch.zeros(4, requires_grad=True)
    x = torch.randn(20, 2)
    old = net(x).detach()
    return [
        *net.parameters(),
        extra,
    ], lambda: (net(x) - old + 0.3).exp().mean() + (extra * torch.arange(4.0)).square().sum()


def dense_hessian(function, parameters):
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(function(), parameters, create_graph=True)])
    rows = [torch.autograd.grad(g, parameters, retain_graph=True, materialize_grads=True) for g in gradient]
    return torch.stack([torch.cat([r.flatten() for r in row]) for row in rows])


def test_hessian_products_are_those_of_the_dense_hessian():
    parameters, function = network()
    net_shapes = [p.shape for p in parameters]
    total = sum(p.numel() for p in parameters)
    assert total == 31
    gradient = torch.autograd.grad(function(), parameters, create_graph=True)
    product = hessian_vector_product(gradient, parameters, damping=0.3)
    dense = dense_hessian(function, parameters) + 0.3 * torch.eye(total)
    for _ in range(5):
        v = torch.randn(total)
        torch.testing.assert_close(product(v), dense @ v)
    quartic = lambda x: (x**4).sum() + (x[0] * x[1]) ** 2  # noqa: E731
    x = torch.randn(6, requires_grad=True)
    product = hessian_vector_product(torch.autograd.grad(quartic(x), [x], create_graph=True), [x])
    expected = torch.autograd.functional.hessian(quartic, x.detach())
    torch.testing.assert_close(torch.stack([product(e) for e in torch.eye(6)]), expected)
    assert [p.shape for p in parameters] == net_shapes


def test_a_linear_function_and_an_unread_parameter_have_hessian_zero():
    x, y = torch.randn(3, requires_grad=True), torch.randn(2, requires_grad=True)
    gradient = torch.autograd.grad(x.sum(), [x, y], create_graph=True, allow_unused=True)
    v = torch.randn(5)
    torch.testing.assert_close(hessian_vector_product(gradient, [x, y], damping=2.0)(v), 2 * v)


def test_conjugate_gradient_solves():
    a = torch.randn(12, 12)
    matrix, b = a @ a.T + 0.5 * torch.eye(12), torch.randn(12)
    exact = torch.linalg.solve(matrix, b)
    found, image = conjugate_gradient(lambda v: matrix @ v, b, iterations=40, tolerance=1e-24)
    torch.testing.assert_close(image, matrix @ found)
    torch.testing.assert_close(found, exact)
    cosine = torch.nn.functional.cosine_similarity(
        conjugate_gradient(lambda v: matrix @ v, b, iterations=12).x, exact, dim=0
    )
    assert cosine > 0.999
    few = torch.diag(torch.tensor([1.0, 1.0, 5.0, 5.0, 9.0]))  # three eigenvalues: three iterations
    b = torch.randn(5)
    torch.testing.assert_close(conjugate_gradient(lambda v: few @ v, b, iterations=3).x, b / few.diagonal())
    assert not conjugate_gradient(lambda v: v, torch.zeros(3)).x.any()
    bad = torch.diag(torch.tensor([1.0, -1.0]))
    assert conjugate_gradient(lambda v: bad @ v, torch.ones(2)).x.isfinite().all()


def test_the_step_is_the_natural_gradient_at_the_bound():
    a, g = torch.randn(6, 6), torch.randn(6)
    matrix = a @ a.T + torch.eye(6)
    w = torch.randn(6, requires_grad=True)
    start = w.detach().clone()
    kl = lambda: (w - start) @ matrix @ (w - start) / 2  # noqa: E731
    step = trust_region_step([w], lambda: g @ w, kl, max_kl=0.02, damping=0.0, iterations=30)
    natural = -torch.linalg.solve(matrix, g)
    shorter = 0.8**step.backtracks
    expected = natural * (2 * 0.02 / (natural @ matrix @ natural)).sqrt() * shorter
    torch.testing.assert_close(w.detach() - start, expected, rtol=1e-5, atol=1e-7)
    assert step.accepted and step.reason == "accepted" and step.backtracks <= 1  # rounding puts it on either side
    assert step.kl == pytest.approx(0.02 * shorter**2) and step.improvement == pytest.approx(-(g @ expected).item())
    assert step.gradient_norm == pytest.approx(g.norm().item())


def adversaries():
    """(loss, kl) of w and its start, such that no length within the search is right, and why not."""
    square = lambda w, s: (w - s).square().sum()  # noqa: E731
    moved = lambda w, s: bool((w != s).any())  # noqa: E731
    return {
        "kl over": (
            lambda w, s: w.sum(),
            lambda w, s: square(w, s) + (1.0 if moved(w, s) else 0.0),
            "kl is over its bound",
        ),
        "kl barely over": (
            lambda w, s: w.sum(),
            lambda w, s: square(w, s) * 1e-9 + (0.01 + 1e-12 if moved(w, s) else 0.0),
            "kl is over its bound",
        ),
        "kl nan": (lambda w, s: w.sum(), lambda w, s: square(w, s) * (math.nan if moved(w, s) else 1), "finite"),
        "loss rises": (
            lambda w, s: w.sum() + (10.0 if moved(w, s) else 0.0),
            lambda w, s: square(w, s),
            "the loss did not fall",
        ),
        "loss stays": (lambda w, s: (w.sum() - s.sum()) * 1e-30 + 1.0, lambda w, s: square(w, s), "did not fall"),
        "loss nan": (lambda w, s: w.sum() * (math.nan if moved(w, s) else 1), lambda w, s: square(w, s), "finite"),
        "loss -inf": (lambda w, s: w.sum() - (math.inf if moved(w, s) else 0), lambda w, s: square(w, s), "finite"),
        "kl inf": (lambda w, s: w.sum(), lambda w, s: square(w, s) + (math.inf if moved(w, s) else 0), "finite"),
        "loss nan at once": (lambda w, s: w.sum() * math.nan, lambda w, s: square(w, s), "not finite"),
        "negative curvature": (lambda w, s: w.sum(), lambda w, s: -square(w, s), "curvature"),
        "flat": (lambda w, s: (w * 0).sum(), lambda w, s: square(w, s), "gradient is 0"),
    }


@pytest.mark.parametrize("name", adversaries())
def test_nothing_moves_when_it_should_not(name):
    loss, kl, why = adversaries()[name]
    w = torch.tensor([0.1, -0.0, 1e-310, 3e17], requires_grad=True)
    other = torch.randn(3, requires_grad=True)
    start, bits = w.detach().clone(), w.detach().clone().view(torch.int64)
    untouched = other.detach().clone()
    step = trust_region_step([w, other], lambda: loss(w, start), lambda: kl(w, start))
    assert not step.accepted and why in step.reason
    assert torch.equal(w.detach().view(torch.int64), bits) and torch.equal(other.detach(), untouched)


def test_an_error_in_the_search_restores_too():
    w = torch.randn(4, requires_grad=True)
    start, calls = w.detach().clone(), []

    def loss():
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return w.sum() + (10.0 if len(calls) == 2 else 0.0)

    with pytest.raises(KeyboardInterrupt):
        trust_region_step([w], loss, lambda: (w - start).square().sum())
    assert torch.equal(w.detach(), start)


@pytest.mark.parametrize("seed", range(20))
def test_no_accepted_step_is_over_the_bound_or_raises_the_loss(seed):
    """Rough random losses and distances, whose Hessian says little about them a step away."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = (3 * torch.randn(5, 5, generator=generator) for _ in range(3))
    w = torch.randn(5, generator=generator).requires_grad_()
    start = w.detach().clone()
    loss = lambda: (a @ w).sin().sum() + (b @ w).cos().sum()  # noqa: E731
    kl = lambda: (c @ (w - start)).square().sum() + 50 * ((w - start) ** 4).sum() + (w - start).abs().sum() * 0.01  # noqa: E731
    before = loss().item()
    step = trust_region_step([w], loss, kl, max_kl=0.05)
    if step.accepted:
        assert kl().item() <= 0.05 and loss().item() < before
        assert step.kl == kl().item() and step.improvement == before - loss().item()
    else:
        assert torch.equal(w.detach(), start)


def test_backtracking_is_counted():
    w = torch.zeros(1, requires_grad=True)
    kl = lambda: w.square().sum() + 1e5 * w.pow(4).sum()  # noqa: E731
    step = trust_region_step([w], lambda: w.sum(), kl, max_kl=0.01)
    assert step.accepted and step.backtracks > 0
    assert w.item() == pytest.approx(-0.1 * 0.8**step.backtracks, rel=1e-4)
    one_less = 0.1 * 0.8 ** (step.backtracks - 1)
    assert one_less**2 + 1e5 * one_less**4 > 0.01


def test_through_adaptation_it_improves_the_adapted_policies():
    """MAML-TRPO's step: surrogate and KL of adapted policies, with the gradient through the inner step."""
    policy = GaussianPolicy(qs.nets.MLP(2, [5], 2, activation="tanh"), 2)
    found, later = made.episodes(seed=0), made.episodes(seed=1)
    before = decisions(found, torch.randn(found.mask.shape))
    loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator="lvc"), lr=0.2)
    adapted = lambda: loop(batch=lambda step, adapted: before, num_tasks=3)  # noqa: E731
    old = adapted()(later.observation.flatten(1, 2)).unflatten(1, later.mask.shape[1:]).detach()
    later = later._replace(log_prob=torch.where(later.mask, policy.log_prob(old, later.action), 0))
    after = decisions(later, torch.randn(later.mask.shape))
    loss = lambda: adapted().evaluate(RatioSurrogate(policy), after).mean()  # noqa: E731
    kl = lambda: adapted().evaluate(MeanKL(policy), (after, old)).mean()  # noqa: E731
    value = loss().item()
    step = trust_region_step(policy.parameters(), loss, kl, max_kl=0.01)
    assert step.accepted and 0.001 < step.kl <= 0.01
    assert loss().item() == pytest.approx(value - step.improvement) and step.improvement > 0
    dense = dense_hessian(kl, list(policy.parameters()))
    product = hessian_vector_product(
        torch.autograd.grad(kl(), list(policy.parameters()), create_graph=True), list(policy.parameters())
    )
    v = torch.randn(len(dense))
    torch.testing.assert_close(product(v), dense @ v)


def test_bad_input_is_refused():
    w = torch.zeros(2, requires_grad=True)
    good = lambda: w.square().sum()  # noqa: E731
    for bad in ({"max_kl": 0.0}, {"iterations": 0}, {"backtrack": 1.0}, {"max_backtracks": 0}, {"damping": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            trust_region_step([w], good, good, **bad)
    with pytest.raises(ValueError, match="loss does not depend on the parameters"):
        trust_region_step([w], lambda: torch.ones(()), good)
    with pytest.raises(ValueError, match="kl does not depend"):
        trust_region_step([w], lambda: w.sum(), lambda: torch.ones((), requires_grad=True) * 2)
    with pytest.raises(ValueError, match="expected a scalar"):
        trust_region_step([w], lambda: w, good)


def test_gauss_newton_is_the_hessian_where_the_divergence_is_zero():
    """Through an inner step, for normal and categorical policies; and the step found with it is the same."""

    torch.manual_seed(0)
    for policy, width in (
        (GaussianPolicy(qs.nets.MLP(2, [4], 2, activation="tanh"), 2), 2),
        (CategoricalPolicy(qs.nets.MLP(2, [4], 3, activation="tanh")), 3),
    ):
        params = list(policy.parameters())
        x, y = torch.randn(2, 6, 2), torch.randn(2, 6, 2 * width if width == 2 else width)
        loop = qs.inner_loop(
            policy, objective=lambda model, data, outer: (model(data[0]) - data[1]).square().mean(), lr=0.2
        )

        def outputs(loop=loop, x=x, y=y):
            return loop(batch=lambda step, adapted: (x, y), num_tasks=2)(x)

        old = outputs().detach()

        def divergence(out, policy=policy, old=old):
            return policy.kl(old, out[0]).mean()

        slope = torch.autograd.grad(divergence([outputs()]), params, create_graph=True)
        hessian = hessian_vector_product(slope, params)

        def value(out, policy=policy, target=y[..., : old.shape[-1]]):
            return policy.kl(target, out).mean()  # of the distribution alone, as its curvature is

        def loss(outputs=outputs, value=value):
            return value(outputs())

        def linearise(given, outputs=outputs, value=value, divergence=divergence):
            here = outputs().detach().requires_grad_()
            loss = value(here)
            return Linearised(loss, *gauss_newton([outputs()], torch.autograd.grad(loss, here), divergence, given))

        found = linearise(params)
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), params)])
        torch.testing.assert_close(found.gradient, expected)
        for _ in range(3):
            v = torch.randn(sum(p.numel() for p in params))
            torch.testing.assert_close(found.hessian(v), hessian(v))

        began = [p.detach().clone() for p in params]
        reached = []
        for near in (None, linearise):
            for p, b in zip(params, began, strict=True):
                p.data.copy_(b)
            step = trust_region_step(params, loss, lambda o=outputs, d=divergence: d([o()]), linearise=near)
            assert step.accepted
            reached.append(step)
        # the null directions of a softmax make conjugate gradients feel every rounding
        assert reached[1].improvement == pytest.approx(reached[0].improvement, rel=0.05)
        assert reached[1].kl == pytest.approx(reached[0].kl, rel=0.2)
