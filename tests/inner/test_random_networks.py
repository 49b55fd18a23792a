"""Random networks by every engine: the numbers of plain PyTorch, or an error that says why not; never other numbers.

Whatever happens, nothing that belongs to the user changes.
"""

import warnings

import pytest
import torch
from inner.layer_kinds import KINDS
from inner.random_networks import (
    ENGINES,
    LOSSES,
    OBJECTIVES,
    OPTIONS,
    RULES,
    changed,
    differs,
    draw,
    moved,
    plain,
    snapshot,
    solve,
)
from torch import nn

FAST, ALL = 60, 300
MORE = [(engine, option) for option in OPTIONS if option != "plain" for engine in ENGINES]
CLEAR = (RuntimeError, ValueError, TypeError)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def oracle(i):
    """The right outcomes for both data, or None where torch itself has no such derivative."""
    problem = draw(i)
    try:
        right = [plain(problem, which) for which in range(len(problem.batches))]
    except NotImplementedError:
        return None
    for outcome in right:  # a network that vanishes or explodes would show nothing
        assert 1e-4 < max(g.abs().max().item() for g in outcome.grads.values()) < 1e3
    return right


def complaint(i, engine, option, right):
    """What is wrong with network `i` by this engine with this option; None if nothing is."""
    problem = draw(i)
    if option == "chunk" and (problem.objective is not None or problem.each_step):
        return None  # chunks belong to the learners, which have neither
    before, found, message = snapshot(problem), [], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = solve(problem, engine, option)
        except CLEAR as error:
            message = f"{type(error).__name__}: {error}"
        except Exception as error:
            return f"is no clear error: {type(error).__name__}: {error}"
    if name := changed(before, snapshot(problem), statistics=option == "chunk"):
        return f"changed {name}"
    if right is None:
        return None
    if message is not None:
        must_run = engine in ("loop", "auto") and option in ("plain", "chunk")
        return f"raised {message}" if must_run or len(message) < 40 else None
    wrong = [f"data {k}: {d}" for k, (f, r) in enumerate(zip(found, right, strict=False)) if (d := differs(f, r))]
    return "; ".join(wrong) or None


def assert_right(i, pairs):
    right = oracle(i)
    found = [(engine, option, complaint(i, engine, option, right)) for engine, option in pairs]
    if lines := [f"  {engine}, {option}: {text}" for engine, option, text in found if text]:
        pytest.fail("\n".join([f"network {i}: {', '.join(draw(i).kinds)}", *lines]), pytrace=False)


@pytest.mark.parametrize("i", range(FAST))
def test_every_engine_and_two_options_more(i):
    rotating = [MORE[(2 * i + k * 7) % len(MORE)] for k in range(2)]
    assert_right(i, [(engine, "plain") for engine in ENGINES] + rotating)


@pytest.mark.slow
@pytest.mark.parametrize("i", range(ALL))
def test_every_engine_with_every_option(i):
    assert_right(i, [(engine, option) for option in OPTIONS for engine in ENGINES])


# ------------------------------------------------------------------------------------------------ the harness itself


def test_the_first_networks_hold_every_kind():
    seen = {kind for i in range(FAST) for kind in draw(i).kinds}
    assert not {*KINDS, *LOSSES, *OBJECTIVES, *RULES, "unequal", "other data at every step"} - seen
    assert len(KINDS) >= 40


def test_a_network_is_always_the_same():
    for i in (0, 17, 101):
        one, other = draw(i), draw(i)
        assert one.kinds == other.kinds
        for a, b in zip(one.learned().values(), other.learned().values(), strict=True):
            assert torch.equal(a, b)
        assert differs(plain(one), plain(other), bound=0.0) is None


SMOOTH = (2, 5, 10, 13, 17, 21, 29, 30, 39, 46, 53, 58)
SMOOTH_TOO = [i for i in range(FAST) if i not in SMOOTH]


def slope(problem, along, h):
    """The meta-loss's slope, by central differences of fourth order."""
    learned = problem.learned()
    start = {k: v.detach().clone() for k, v in learned.items()}

    def at(size):
        with torch.no_grad():
            for name, tensor in learned.items():
                tensor.copy_(start[name] + size * along[name])
        return plain(problem).loss

    found = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    at(0.0)
    return found


@pytest.mark.parametrize("i", [*SMOOTH, *(pytest.param(i, marks=pytest.mark.slow) for i in SMOOTH_TOO)])
def test_the_oracle_is_the_slope(i):
    problem = draw(i)
    if not problem.smooth():  # by design, or by an error of torch's own
        assert i not in SMOOTH
        return
    chance = torch.Generator().manual_seed(1)
    along = {k: torch.randn(v.shape, generator=chance) for k, v in problem.learned().items()}
    found = slope(problem, along, h=1e-5)
    grads = plain(problem).grads
    expected = sum((grads[k] * along[k]).sum().item() for k in grads)
    size = sum(g.square().sum().item() for g in grads.values()) ** 0.5
    assert abs(found - expected) < 1e-7 * size


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_those_of_torch(name):
    rule = RULES[name]
    own = rule.make(nn.ParameterDict({"w": torch.zeros(3)}))
    value, slot = torch.tensor([0.3, -0.2, 0.5]), None
    theirs = nn.Parameter(value.clone())
    if rule.adam:
        optimizer = torch.optim.Adam([theirs], lr=1.0, eps=1e-2, weight_decay=rule.decay)
    else:
        optimizer = torch.optim.SGD(
            [theirs], lr=1.0, momentum=rule.momentum, nesterov=rule.nesterov, weight_decay=rule.decay
        )
    for step in range(3):
        rate = rule.rate(own, "w", step)
        optimizer.param_groups[0]["lr"] = torch.as_tensor(rate).detach().reshape(-1)[0].item()
        gradient = torch.tensor([0.4, -1.0, 0.0]) * (step + 1)
        theirs.grad = gradient.clone()
        optimizer.step()
        value, slot = moved(rule, own, "w", step, value, gradient, slot)
        torch.testing.assert_close(value, theirs, rtol=1e-12, atol=1e-12)
