"""MAML with plain policy gradients outside: its gradient by enumeration, what it comes to without inner steps."""

import itertools

import pytest
import torch
from rl.enumerated import (
    TRAJECTORIES,
    data,
    expected_return,
    flat,
    log_policy,
    practised,
    predicted,
    probability,
    slope,
    stacked,
    to_go,
)
from rl.worlds import Points, sure_of_the_first, two_arms
from torch import nn

import quickstudy as qs
from quickstudy.rl.decisions import Decisions
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.practice import Practice

RATE = 0.4
ESTIMATORS = [("maml", None), ("lvc", None), ("dice", None), ("loaded_dice", 0.5)]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def down(params):
    """Whose step is the gradient itself."""
    return torch.optim.SGD(params, lr=1.0)


def tabular(**options):
    torch.manual_seed(0)
    policy = qs.rl.CategoricalPolicy(nn.Linear(3, 2))
    for p in policy.parameters():
        nn.init.normal_(p)
    return qs.rl.MAMLVPG(policy, **{"lr": 2 * RATE, "optimizer": down, **options})


def walker(**options):
    torch.manual_seed(0)
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [6], 2, activation="tanh"), 2)
    return qs.rl.MAMLVPG(policy, **{"lr": 0.2, "optimizer": down, **options})


def walked(made, tasks=5):
    """Episodes of unequal lengths."""
    environment = Points(num_envs=3, horizon=6)
    environment.set_tasks(environment.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return made.practise(environment, generator=torch.Generator().manual_seed(3))


def gradient(made, practice):
    """By which the step moves."""
    before = flat(made)
    told = made.step(practice)
    moved = before - flat(made)
    assert told["gradient_norm"] == pytest.approx(float(moved.norm()))
    return moved


@pytest.mark.parametrize(("estimator", "past"), ESTIMATORS)
def test_the_step_follows_the_meta_gradient(estimator, past):
    """d/dtheta of J(theta + rate grad J(theta)), three tasks, with the Hessian that theory gives the estimator."""
    made, rewards = tabular(estimator=estimator, past=past), torch.randn(3, 3, 2)
    theta, expected = flat(made), 0
    for reward in rewards:
        after = slope(theta + RATE * slope(theta, reward), reward)
        hessian = predicted(theta, reward, torch.zeros(3), estimator, past)
        if estimator == "dice":
            exact = torch.autograd.functional.hessian(lambda x, r=reward: expected_return(x, r), theta)
            torch.testing.assert_close(hessian, exact)
        expected = expected + (after + RATE * hessian @ after) / 3
    torch.testing.assert_close(gradient(made, practised(theta, rewards, RATE)), -expected / 2)


def test_first_order_is_the_gradient_where_the_policies_have_adapted_to():
    made, rewards = tabular(first_order=True), torch.randn(3, 3, 2)
    theta = flat(made)
    expected = sum(slope(theta + RATE * slope(theta, reward), reward) for reward in rewards) / 3
    torch.testing.assert_close(gradient(made, practised(theta, rewards, RATE)), -expected / 2)


@pytest.mark.parametrize("steps", [1, 2])
def test_emaml_is_the_gradient_through_the_sampled_updates(steps):
    """d/dtheta of E_tau[J(theta'(tau))], every sequence of trajectories a task, as likely as it is."""
    made = tabular(estimator="emaml", steps=steps, judge=qs.rl.Judge(discount=1.0, standardise=False))
    theta, reward = flat(made).requires_grad_(), torch.randn(3, 2)
    batches, chance, value, ends = list(itertools.product(TRAJECTORIES, repeat=steps)), [], [], []
    for batch in batches:
        here, likely = theta, 1.0
        for tau in batch:
            likely = likely * probability(here, tau)
            score = (log_policy(here, tau) * to_go(reward, tau)).sum()
            here = here + RATE * torch.autograd.grad(score, here, create_graph=True)[0]
        chance.append(likely)
        value.append(expected_return(here, reward))
        ends.append(here.detach())
    chance, value = torch.stack(chance), torch.stack(value)
    (exact,) = torch.autograd.grad((chance * value).sum(), theta)

    chance, value, n = chance.detach(), value.detach(), len(batches)
    stages = [stacked([data([b[k]], to_go(reward, b[k])[None]) for b in batches]) for k in range(steps)]
    judged = [practised(end, reward[None], 0.0, 0).after for end in ends]
    after = Decisions(*(torch.cat(fields) for fields in zip(*judged, strict=True)))
    after = after._replace(advantage=after.advantage * (n * chance)[:, None, None])
    # rewards from which the outcome, relative to the other tasks, is chance * J relative to its mean
    outcome = chance * (value - (chance * value).sum()) * (n - 1)
    episodes = Episodes(*[torch.zeros(n, 1, 2)] * 5, *[torch.zeros(n, 1, 2, dtype=torch.bool)] * 3, torch.arange(2))
    episodes = episodes._replace(
        reward=torch.stack([outcome, torch.zeros(n)], 1)[:, None],
        truncated=torch.tensor([False, True]).expand(n, 1, 2),
        mask=torch.ones(n, 1, 2, dtype=torch.bool),
        time=torch.arange(2).expand(n, 1, 2),
    )
    practice = Practice((episodes,) * (steps + 1), (*stages, after))
    torch.testing.assert_close(gradient(made, practice), -exact / 2)


@pytest.mark.parametrize(("estimator", "past"), [*ESTIMATORS, ("emaml", None)])
def test_no_inner_steps_are_plain_policy_gradient(estimator, past):
    made, rewards = tabular(steps=0, estimator=estimator, past=past), torch.randn(3, 3, 2)
    theta = flat(made)
    expected = sum(slope(theta, reward) for reward in rewards) / 3
    torch.testing.assert_close(gradient(made, practised(theta, rewards, 0.0, 0)), -expected / 2)
    if estimator != "emaml":
        still = tabular(lr=0.0, estimator=estimator, past=past)
        torch.testing.assert_close(gradient(still, practised(theta, rewards, 0.0)), -expected / 2)


@pytest.mark.parametrize("estimator", ["maml", "lvc", "dice"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_batch_is_its_tasks_one_by_one(estimator, steps):
    options = {"estimator": estimator, "steps": steps}
    practice = walked(walker(**options))
    assert not practice.after.mask.all()
    alone = [
        practice._replace(decisions=tuple(Decisions(*(f[i : i + 1] for f in d)) for d in practice.decisions))
        for i in range(5)
    ]
    expected = sum(gradient(walker(**options), one) for one in alone) / 5
    torch.testing.assert_close(gradient(walker(**options), practice), expected)


@pytest.mark.parametrize("estimator", ["lvc", "emaml"])
def test_chunks_change_nothing(estimator):
    found = [
        gradient(made, walked(made)) for made in (walker(estimator=estimator, chunk=c) for c in (1, 2, None, "auto"))
    ]
    for other in (found[0], found[1], found[3]):
        torch.testing.assert_close(other, found[2])


def test_adam_is_the_default_optimiser():
    plain, made = walker(), walker(optimizer=None, outer_lr=0.02)
    practice, before = walked(plain), flat(made)
    slopes = gradient(plain, practice)
    made.step(practice)
    torch.testing.assert_close(before - flat(made), 0.02 * slopes / (slopes.abs() + 1e-8))
    assert made.optimizer.defaults["lr"] == 0.02
    assert all(p.grad is None for p in made.parameters())


def test_learned_rates_are_learned():
    rate = nn.Parameter(torch.tensor(0.2))
    for estimator in ("maml", "emaml"):
        made = walker(lr=rate, estimator=estimator, optimizer=None)
        before = rate.item()
        made.step(walked(made))
        assert any(p is rate for p in made.parameters()) and rate.item() != before


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"estimator": "reinforce"}, ValueError, "choose one of maml, lvc"),
        ({"estimator": "loaded_dice"}, ValueError, "must be given there"),
        ({"steps": -1}, ValueError, "steps=-1"),
        ({"lr": -0.1}, ValueError, "lr=-0.1"),
        ({"outer_lr": 0}, ValueError, "outer_lr=0; expected a positive number"),
        ({"chunk": 0}, ValueError, "chunk=0"),
        ({"optimizer": "adam"}, TypeError, "optimizer='adam'; expected a callable"),
        ({"optimizer": lambda params: None}, TypeError, "made a NoneType; expected a torch.optim.Optimizer"),
        ({"optimizer": torch.optim.LBFGS}, ValueError, "LBFGS, which evaluates the loss itself"),
        ({"first_order": 1}, TypeError, "first_order=1"),
    ],
)
def test_bad_options_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        walker(**options)


def test_a_policy_without_parameters_is_refused():
    policy = qs.rl.CategoricalPolicy(nn.Linear(3, 2).requires_grad_(False))
    with pytest.raises(ValueError, match="MAMLVPG has no parameter that requires grad"):
        qs.rl.MAMLVPG(policy)


def test_it_learns_to_adapt():
    """Two arms of which either may pay, by a policy that is all but sure of the first: it learns to be open."""
    chance, told = torch.Generator().manual_seed(0), {}
    for estimator, first_order in (("lvc", False), ("maml", False), ("maml", True)):
        environment, policy = two_arms(), sure_of_the_first()
        made = qs.rl.MAMLVPG(policy, lr=2.0, estimator=estimator, first_order=first_order, outer_lr=0.2)
        chance.manual_seed(0)
        told[estimator, first_order] = [made.update(environment, generator=chance)["return_1"] for _ in range(12)]
    learned, plain, first = told.values()
    assert sum(learned[-4:]) / 4 > 6.5 > 5.5 > learned[0]  # of 10 pulls, 5 by chance
    # a Gibbs policy's grad g is the same for all actions: with centred advantages nothing is left of maml's Hessian
    assert plain == pytest.approx(first)
    assert sum(plain) < sum(learned)
