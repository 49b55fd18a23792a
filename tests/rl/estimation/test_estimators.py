"""Estimators of inner steps in an MDP with eight trajectories, where every expectation is a sum."""

import itertools

import pytest
import torch
from rl import made
from rl.enumerated import (
    TRAJECTORIES,
    data,
    everything,
    expected_return,
    flat,
    log_policy,
    predicted,
    probability,
    scores,
    to_go,
)
from rl.worlds import Chain
from torch import nn
from torch.func import functional_call

import quickstudy as qs
from quickstudy.rl.decisions import Decisions, decisions
from quickstudy.rl.estimation.estimators import InnerSurrogate, SamplingTerm, outcomes
from quickstudy.rl.estimation.surrogates import RatioSurrogate
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
from quickstudy.rl.rollout import rollout

LR = 0.4
ESTIMATORS = [("maml", None), ("emaml", None), ("lvc", None), ("dice", None), ("loaded_dice", 1.0)]
ESTIMATORS += [("loaded_dice", 0.5), ("loaded_dice", 0.0)]


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def policy():
    policy = CategoricalPolicy(nn.Linear(3, 2))
    for p in policy.parameters():
        nn.init.normal_(p)
    return policy


@pytest.fixture
def reward():
    return torch.randn(3, 2)


def named(theta):
    return {"network.weight": theta[:6].reshape(2, 3), "network.bias": theta[6:]}


def vector(grads):
    return torch.cat([g.flatten() for g in grads])


def hessian(policy, objective, batch):
    """Of an objective of one task, by the policy's parameters."""
    value = lambda theta: objective(lambda x: functional_call(policy, named(theta), (x,)), batch)  # noqa: E731
    theta = flat(policy)
    gradient = torch.autograd.functional.jacobian(value, theta)
    return gradient, torch.autograd.functional.hessian(value, theta)


@pytest.mark.parametrize("baseline", [[0.0, 0.0, 0.0], [0.7, -1.3, 2.0]])
@pytest.mark.parametrize(("estimator", "past"), ESTIMATORS)
def test_gradient_and_hessian_are_what_theory_says(policy, reward, estimator, past, baseline):
    theta, baseline = flat(policy), torch.tensor(baseline)
    advantage = torch.stack([to_go(reward, tau) - baseline[[0, tau[1]]] for tau in TRAJECTORIES])
    weights = torch.stack([probability(theta, tau) for tau in TRAJECTORIES])
    objective = InnerSurrogate(policy, estimator=estimator, past=past, over="episodes")
    gradient, found = hessian(policy, objective, everything(weights, advantage))
    exact = torch.autograd.functional.jacobian(lambda x: expected_return(x, reward), theta)
    torch.testing.assert_close(-gradient, exact)
    torch.testing.assert_close(-found, predicted(theta, reward, baseline, estimator, past))
    true = torch.autograd.functional.hessian(lambda x: expected_return(x, reward), theta)
    if estimator == "dice" or past == 1:
        torch.testing.assert_close(-found, true)
    else:
        assert (-found - true).abs().max() > 1e-3


def test_the_bias_of_lvc_is_the_cross_terms_whatever_the_baseline(policy, reward):
    """Rothfuss et al. 2019: what is missing is `E[sum_t g_t (grad Q_t)'] + its transpose`."""
    theta = flat(policy)
    weights = torch.stack([probability(theta, tau) for tau in TRAJECTORIES])
    advantage = torch.stack([to_go(reward, tau) for tau in TRAJECTORIES])
    _, found = hessian(policy, InnerSurrogate(policy, estimator="lvc", over="episodes"), everything(weights, advantage))
    true = torch.autograd.functional.hessian(lambda x: expected_return(x, reward), theta)

    def q(x, a0):  # of state 0: what follows action a0
        following = [tau for tau in TRAJECTORIES if tau[0] == a0]
        chance = torch.stack([probability(x, tau) / log_policy(x, tau)[0].exp() for tau in following])
        return (chance * torch.stack([to_go(reward, tau)[0] for tau in following])).sum()

    missing = torch.zeros(8, 8)
    for a0 in (0, 1):
        tau = (a0, 1, 0)
        chance, g = log_policy(theta, tau)[0].exp(), scores(theta, tau)[0]
        slope = torch.autograd.functional.jacobian(lambda x: q(x, a0), theta)
        missing += chance * (torch.outer(g, slope) + torch.outer(slope, g))
    torch.testing.assert_close(true + found, missing)


def adapted_on(policy, batches, reward, estimator="emaml", **options):
    """One inner step for each batch of trajectories: a batch is a task."""
    rows = [data(b, torch.stack([to_go(reward, tau) for tau in b])) for b in batches]
    tasks = Decisions(*(torch.stack(fields) for fields in zip(*rows, strict=True)))
    objective = InnerSurrogate(policy, estimator=estimator, over="episodes")
    loop = qs.inner_loop(policy, objective=objective, lr=LR, **options)
    return loop, loop(batch=lambda step, adapted: tasks, num_tasks=len(batches)), tasks


def parameters_of(adapted):
    params = adapted.params
    return torch.cat([params["network.weight"].flatten(1), params["network.bias"]], 1)


def outer_loss(policy, adapted, reward):
    """The surrogate after adaptation, in expectation over what the adapted policies do; and their J."""
    theta = parameters_of(adapted).detach()
    advantage = torch.stack([to_go(reward, tau) for tau in TRAJECTORIES])
    rows, values = [], []
    for mine in theta:
        weights = torch.stack([probability(mine, tau) for tau in TRAJECTORIES])
        log_prob = torch.stack([log_policy(mine, tau) for tau in TRAJECTORIES])
        rows.append(everything(weights, advantage)._replace(log_prob=log_prob))
        values.append(expected_return(mine, reward))
    tasks = Decisions(*(torch.stack(fields) for fields in zip(*rows, strict=True)))
    return adapted.evaluate(RatioSurrogate(policy, over="episodes"), tasks), torch.stack(values)


def by_hand(theta, batch, reward):
    """theta + LR * the mean over trajectories of sum_t g_t R_t, differentiable."""

    def surrogate(x):
        return sum((log_policy(x, tau) * to_go(reward, tau)).sum() for tau in batch) / len(batch)

    (gradient,) = torch.autograd.grad(surrogate(theta), theta, create_graph=True)
    return theta + LR * gradient


@pytest.mark.parametrize("n", [1, 2])
def test_emaml_is_the_gradient_through_the_sampled_update(policy, reward, n):
    """d/dtheta of E_{tau_1..n ~ theta}[ J(theta + lr * sampled gradient) ], summed over all 8^n batches."""
    batches = list(itertools.product(TRAJECTORIES, repeat=n))
    theta = flat(policy).requires_grad_()
    chance = torch.stack([torch.stack([probability(theta, tau) for tau in b]).prod() for b in batches])
    after = torch.stack([expected_return(by_hand(theta, b, reward), reward) for b in batches])
    (exact,) = torch.autograd.grad((chance * after).sum(), theta, retain_graph=True)
    (sampling,) = torch.autograd.grad((chance * after.detach()).sum(), theta)

    loop, adapted, tasks = adapted_on(policy, batches, reward)
    main, values = outer_loss(policy, adapted, reward)
    torch.testing.assert_close(values, after.detach())
    before = loop(batch=lambda step, adapted: tasks, num_tasks=len(batches), steps=0)
    for shift in (0.0, 5.0):  # what is subtracted from all outcomes does not matter
        term = before.evaluate(SamplingTerm(policy), (tasks, values - shift))
        loss = (chance.detach() * (main + term)).sum()
        found = vector(torch.autograd.grad(loss, list(policy.parameters()), retain_graph=True))
        torch.testing.assert_close(-found, exact)

    maml = vector(torch.autograd.grad((chance.detach() * main).sum(), list(policy.parameters())))
    torch.testing.assert_close(-maml, exact - sampling)  # what maml lacks, and all that it lacks
    assert sampling.abs().max() > 1e-2


def test_emaml_with_two_inner_steps_has_a_term_for_each(policy, reward):
    pairs = list(itertools.product(TRAJECTORIES, repeat=2))
    theta = flat(policy).requires_grad_()
    exact_value = 0.0
    for first, second in pairs:
        middle = by_hand(theta, [first], reward)
        end = by_hand(middle, [second], reward)
        exact_value = exact_value + (
            probability(theta, first) * probability(middle, second) * expected_return(end, reward)
        )
    (exact,) = torch.autograd.grad(exact_value, theta)

    rows = [[data([tau], to_go(reward, tau)[None]) for tau in taus] for taus in zip(*pairs, strict=True)]
    steps = [Decisions(*(torch.stack(fields) for fields in zip(*row, strict=True))) for row in rows]
    drawn_by = []

    def batch(step, adapted):
        drawn_by.append(adapted)
        return steps[step]

    loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator="emaml", over="episodes"), lr=LR, steps=2)
    adapted = loop(batch=batch, num_tasks=len(pairs))
    main, values = outer_loss(policy, adapted, reward)
    loss = main + sum(
        who.evaluate(SamplingTerm(policy), (what, values)) for who, what in zip(drawn_by, steps, strict=True)
    )
    chance = [
        probability(theta, first) * probability(by_hand(theta, [first], reward), second) for first, second in pairs
    ]
    loss = (torch.stack(chance).detach() * loss).sum()
    torch.testing.assert_close(-vector(torch.autograd.grad(loss, list(policy.parameters()))), exact)


@pytest.mark.parametrize("options", [{}, {"mixed_mode": True}, {"engine": "loop"}, {"engine": "lowrank"}], ids=str)
@pytest.mark.parametrize(("estimator", "past"), [e for e in ESTIMATORS if e[0] != "emaml"])
def test_the_meta_gradient_through_the_expected_update(policy, estimator, past, options):
    """d/dtheta of J(theta + lr grad J(theta)) for three tasks at once: exact with dice, and with the predicted Hessian
    in place of the true one otherwise."""
    theta, some_rewards = flat(policy), torch.randn(3, 3, 2)
    weights = torch.stack([probability(theta, tau) for tau in TRAJECTORIES])
    rows = [everything(weights, torch.stack([to_go(reward, tau) for tau in TRAJECTORIES])) for reward in some_rewards]
    tasks = Decisions(*(torch.stack(fields) for fields in zip(*rows, strict=True)))
    objective = InnerSurrogate(policy, estimator=estimator, past=past, over="episodes")
    adapted = qs.inner_loop(policy, objective=objective, lr=LR, **options)(
        batch=lambda step, adapted: tasks, num_tasks=3
    )
    after = torch.stack(
        [expected_return(mine, reward) for mine, reward in zip(parameters_of(adapted), some_rewards, strict=True)]
    )
    found = vector(torch.autograd.grad(after.sum(), list(policy.parameters())))
    expected, exact = torch.zeros(8), torch.zeros(8)
    for reward in some_rewards:
        j = lambda x: expected_return(x, reward)  # noqa: E731
        moved = theta + LR * torch.autograd.functional.jacobian(j, theta)
        slope = torch.autograd.functional.jacobian(j, moved)
        expected += slope + LR * predicted(theta, reward, torch.zeros(3), estimator, past) @ slope
        exact += slope + LR * torch.autograd.functional.hessian(j, theta) @ slope
    torch.testing.assert_close(found, expected)
    if estimator == "dice" or past == 1:
        torch.testing.assert_close(found, exact)
    else:
        assert (found - exact).abs().max() > 1e-3


@pytest.mark.parametrize(("estimator", "past"), ESTIMATORS)
def test_the_sampled_gradient_is_the_policy_gradient(policy, reward, estimator, past):
    """Of real rollouts, one episode a task: within four standard errors of the truth."""
    environment, n = Chain(num_envs=1), 3000
    environment.set_tasks({"reward": reward.expand(n, 3, 2)})
    episodes = rollout(environment, policy, generator=torch.Generator().manual_seed(2))
    back = episodes.reward.flip(2).cumsum(2).flip(2)
    objective = InnerSurrogate(policy, estimator=estimator, past=past, over="episodes")
    loop = qs.inner_loop(policy, objective=objective, lr=1.0)
    adapted = loop(batch=lambda step, adapted: decisions(episodes, back), num_tasks=n, create_graph=False)
    gradients = parameters_of(adapted) - flat(policy)
    exact = torch.autograd.functional.jacobian(lambda x: expected_return(x, reward), flat(policy))
    error = gradients.std(0) / n**0.5
    assert ((gradients.mean(0) - exact).abs() < 4 * error + 1e-12).all()


def gaussian_case(seed=0):
    policy = GaussianPolicy(qs.nets.MLP(2, [5], 2, activation="tanh"), 2)
    found = made.episodes(seed=seed)
    return policy, found, torch.where(found.mask, torch.randn(found.mask.shape), 0)


@pytest.mark.parametrize("over", ["transitions", "episodes"])
@pytest.mark.parametrize(("estimator", "past"), ESTIMATORS)
def test_rows_of_several_episodes_are_their_episodes(estimator, past, over):
    """Against single unpadded episodes with a plain loop over time."""
    policy, found, advantage = gaussian_case()
    surrogate = InnerSurrogate(policy, estimator=estimator, past=past, over=over)
    one = Decisions(*(field[1] for field in decisions(found, advantage)))
    value = surrogate(policy, one)
    total, count = 0.0, 0
    for t, e, first, end in made.split(found):
        if t != 1:
            continue
        count += end - first if over == "transitions" else 1
        w = 0.0
        for i in range(first, end):
            log_prob = policy.log_prob(policy(found.observation[t, e, i][None])[0], found.action[t, e, i])
            v = (past if past is not None else 1.0) * w
            w = v + log_prob
            box = lambda x: (x - x.detach()).exp() if isinstance(x, torch.Tensor) else 1.0  # noqa: E731
            score = {"maml": log_prob, "emaml": log_prob, "lvc": box(log_prob)}.get(estimator)
            total = total - (box(w) - box(v) if score is None else score) * advantage[t, e, i]
    expected = total / count
    parameters = list(policy.parameters())
    torch.testing.assert_close(value, expected)

    def with_slope(x):
        first = vector(torch.autograd.grad(x, parameters, create_graph=True))
        probe = torch.linspace(-1, 1, len(first))
        return first, vector(torch.autograd.grad(first @ probe, parameters))

    for a, b in zip(with_slope(value), with_slope(expected), strict=True):
        torch.testing.assert_close(a, b)


def test_tasks_in_a_batch_are_tasks_alone():
    policy, found, advantage = gaussian_case()
    for estimator in ("maml", "lvc", "dice"):
        loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator=estimator), lr=0.1)
        data = decisions(found, advantage)
        together = loop(batch=lambda step, adapted: data, num_tasks=3).params
        for i in range(3):
            one = Decisions(*(field[i : i + 1] for field in data))
            alone = loop(batch=lambda step, adapted: one, num_tasks=1).params
            for name in alone:
                torch.testing.assert_close(together[name][i], alone[name][0])


def test_outcomes_leave_their_own_task_out():
    found = made.episodes()
    total = (found.reward * found.mask).sum((1, 2))
    for over, count in (("transitions", found.mask.sum((1, 2))), ("episodes", found.done.sum((1, 2)))):
        value = total / count
        expected = torch.stack([value[i] - torch.cat([value[:i], value[i + 1 :]]).mean() for i in range(3)])
        torch.testing.assert_close(outcomes(found, over=over), expected)
        torch.testing.assert_close(outcomes(found, over=over, scale=torch.tensor([1.0, 2, 4]))[2], expected[2] / 4)
    assert outcomes(found, over="episodes", discount=0.5).shape == (3,)


def test_bad_input_is_refused(policy):
    with pytest.raises(ValueError, match="choose one of maml, lvc"):
        InnerSurrogate(policy, estimator="reinforce")
    for bad in ({"estimator": "loaded_dice"}, {"estimator": "lvc", "past": 0.5}):
        with pytest.raises(ValueError, match="belongs to loaded_dice"):
            InnerSurrogate(policy, **bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        InnerSurrogate(policy, estimator="loaded_dice", past=1.5)
    with pytest.raises(ValueError, match="transitions or episodes"):
        InnerSurrogate(policy, over="steps")
    with pytest.raises(ValueError, match="advantage has shape"):
        decisions(made.episodes(), torch.zeros(3, 4))
