"""The ratio surrogate at ratio 1 and away from it, clipping, and the mean KL of adapted policies."""

import pytest
import torch
from rl import made

import quickstudy as qs
from quickstudy.rl.decisions import Decisions, decisions
from quickstudy.rl.estimation.estimators import InnerSurrogate
from quickstudy.rl.estimation.surrogates import MeanKL, RatioSurrogate
from quickstudy.rl.policy import GaussianPolicy


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def policy():
    return GaussianPolicy(qs.nets.MLP(2, [5], 2, activation="tanh"), 2)


def acted(policy, seed: int = 0) -> Decisions:
    """Made-up episodes whose actions this policy drew."""
    found = made.episodes(seed=seed)
    outputs = policy(found.observation.flatten(0, 2)).unflatten(0, found.mask.shape).detach()
    log_prob = torch.where(found.mask, policy.log_prob(outputs, found.action), 0)
    return decisions(found._replace(log_prob=log_prob), torch.randn(found.mask.shape))


def of(data: Decisions, i: int) -> Decisions:
    return Decisions(*(field[i] for field in data))


def slope(policy, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(policy.parameters()))])


@pytest.mark.parametrize("over", ["transitions", "episodes"])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_at_ratio_one_it_is_the_policy_gradient(policy, over, clip):
    data = of(acted(policy), 0)
    value = RatioSurrogate(policy, clip=clip, over=over)(policy, data)
    count = data.mask.sum() if over == "transitions" else (data.mask & (data.time == 0)).sum()
    torch.testing.assert_close(value, -data.advantage.sum() / count)
    plain = InnerSurrogate(policy, estimator="maml", over=over)(policy, data)
    torch.testing.assert_close(slope(policy, value), slope(policy, plain))


def test_at_other_ratios_it_is_the_clipped_importance_weighted_mean(policy):
    data = of(acted(policy), 1)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.3 * torch.randn_like(p))
    real = data.mask
    log_prob = policy.log_prob(policy(data.observation[real]), data.action[real])
    ratio, advantage = (log_prob - data.log_prob[real]).exp(), data.advantage[real]
    assert ratio.max() > 1.2 and ratio.min() < 0.8
    torch.testing.assert_close(RatioSurrogate(policy)(policy, data), -(ratio * advantage).mean())
    clipped = torch.where(advantage > 0, ratio.clamp(max=1.2), ratio.clamp(min=0.8))
    torch.testing.assert_close(RatioSurrogate(policy, clip=0.2)(policy, data), -(clipped * advantage).mean())


def test_mean_kl_and_its_gradient_are_zero_where_nothing_moved(policy):
    data = of(acted(policy), 0)
    old = policy(data.observation.flatten(0, 1)).unflatten(0, data.mask.shape)
    value = MeanKL(policy)(policy, (data, old))
    assert abs(value.item()) < 1e-14 and slope(policy, value).abs().max() < 1e-14
    with torch.no_grad():
        policy.log_std.add_(0.1)
    new = policy(data.observation[data.mask])
    expected = torch.distributions.kl_divergence(
        *(torch.distributions.Normal(o[:, :2], o[:, 2:].exp()) for o in (old[data.mask], new))
    )
    torch.testing.assert_close(MeanKL(policy)(policy, (data, old)), expected.sum(-1).mean())


def test_kl_of_adapted_policies_has_a_gradient_through_adaptation(policy):
    """Moved away from the old outputs, the KL's slope in the start is that of finite differences.

    So with maml, whose Hessian is that of the data as they are; the others' stands for new data as well.
    """
    before, after = acted(policy, 0), acted(policy, 1)
    loop = qs.inner_loop(policy, objective=InnerSurrogate(policy, estimator="maml"), lr=0.3)

    def adapted():
        return loop(batch=lambda step, adapted: before, num_tasks=3)

    old = adapted()(after.observation.flatten(1, 2)).unflatten(1, after.mask.shape[1:]).detach()
    kl = lambda: adapted().evaluate(MeanKL(policy), (after, old)).mean()  # noqa: E731
    assert abs(kl().item()) < 1e-14 and slope(policy, kl()).abs().max() < 1e-13
    start = [p.detach().clone() for p in policy.parameters()]
    direction = [torch.randn_like(p) for p in start]

    def move(size):
        with torch.no_grad():
            for p, s, d in zip(policy.parameters(), start, direction, strict=True):
                p.copy_(s + size * d)
        return kl()

    with torch.no_grad():
        difference = (move(0.1 + 1e-5) - move(0.1 - 1e-5)) / 2e-5
    along = slope(policy, move(0.1)) @ torch.cat([d.flatten() for d in direction])
    torch.testing.assert_close(along, difference, rtol=1e-6, atol=1e-8)


def test_padding_changes_nothing(policy):
    data = acted(policy)
    longer = Decisions(*(torch.cat([f, torch.zeros_like(f)], 2) for f in data))
    for objective in (RatioSurrogate(policy), RatioSurrogate(policy, clip=0.1, over="episodes")):
        for i in range(3):
            a, b = objective(policy, of(data, i)), objective(policy, of(longer, i))
            torch.testing.assert_close(a, b)
            torch.testing.assert_close(slope(policy, a), slope(policy, b))


def test_bad_input_is_refused(policy):
    with pytest.raises(ValueError, match="clip=0"):
        RatioSurrogate(policy, clip=0)
    with pytest.raises(ValueError, match="transitions or episodes"):
        RatioSurrogate(policy, over="tasks")
