"""Rollouts: a batch of tasks against a loop, ends and restarts, one source of chance, and what is refused."""

import pytest
import torch
from rl.worlds import Chain, Points
from torch import nn

import quickstudy as qs
from quickstudy.rl.acting import acting
from quickstudy.rl.policy import CategoricalPolicy, GaussianPolicy
from quickstudy.rl.rollout import rollout


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def tanh_policy() -> GaussianPolicy:
    return GaussianPolicy(qs.nets.MLP(2, [8, 8], 2, activation="tanh"), 2, log_std=-0.5)


def normed_policy() -> GaussianPolicy:
    return GaussianPolicy(nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2)), 2, log_std=-0.5)


def tied_policy() -> GaussianPolicy:
    """Two layers with one weight."""
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    return GaussianPolicy(nn.Sequential(a, nn.Tanh(), b), 2)


def squared(model, x, outer):
    return (model(x)[:, :2] - x).square().mean() + x.abs().mean() * model(x)[:, 2:].mean()


def adapted_to(policy, num_tasks: int, lr: float = 0.3, **options):
    loop = qs.inner_loop(policy, objective=squared, lr=lr, **options)
    x = torch.randn(num_tasks, 6, 2)
    return loop(batch=lambda step, adapted: x, num_tasks=num_tasks, create_graph=False)


def world(num_tasks: int = 3, **options) -> Points:
    environment = Points(**options)
    environment.set_tasks(environment.sample_tasks(num_tasks, generator=torch.Generator().manual_seed(5)))
    return environment


POLICIES = {"stacked": tanh_policy, "mapped": normed_policy, "tied": tied_policy}


@pytest.mark.parametrize("name", POLICIES)
def test_acting_equals_adapted(name):
    policy = POLICIES[name]()
    adapted = adapted_to(policy, 3)
    x = torch.randn(3, 5, 2)
    act = acting(policy, adapted, 3)
    torch.testing.assert_close(act(x), adapted(x))
    assert not act(x).requires_grad
    for i in range(3):
        torch.testing.assert_close(act(x)[i], adapted.module(i)(x[i]).detach())
    assert (act(x)[0, :, 2:] != act(x)[1, :, 2:]).any()  # each has its own log_std
    torch.testing.assert_close(acting(policy, None, 3)(x), torch.stack([policy(row) for row in x]))


def test_acting_with_context_inputs():
    class Context(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x, context):
            return self.linear(torch.cat([x, context.expand(len(x), -1)], 1))

    network = Context()
    loop = qs.inner_loop(
        network, objective=lambda m, x, o: m(x).square().mean(), lr=1.0, inputs={"context": torch.ones(2)}
    )
    x = torch.randn(3, 5, 2)
    adapted = loop(batch=lambda step, adapted: x, num_tasks=3)
    torch.testing.assert_close(acting(network, adapted, 3)(x), adapted(x).detach())


def test_acting_supports_hooks_and_images():
    policy = tanh_policy()
    seen = []
    policy.network.layers[0].register_forward_hook(lambda *a: seen.append(1))
    acting(policy, adapted_to(policy, 3), 3)(torch.randn(3, 5, 2))
    assert seen
    flat = GaussianPolicy(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), 2)
    loop = qs.inner_loop(flat, objective=lambda m, x, o: m(x).square().mean(), lr=0.1)
    x = torch.randn(3, 5, 2, 3)
    adapted = loop(batch=lambda step, adapted: x, num_tasks=3)
    torch.testing.assert_close(acting(flat, adapted, 3)(x), adapted(x).detach())


@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_is_a_loop_over_its_tasks(name):
    policy = POLICIES[name]()
    environment = world(start=0.0, radius=0.45)
    adapted = adapted_to(policy, 3)
    noise = torch.randn(6, 3, 4, 2)
    together = rollout(environment, policy, adapted=adapted, noise=noise)
    assert together.mask.any() and not together.mask.all()
    for i in range(3):
        alone = world(start=0.0, radius=0.45)
        alone.set_tasks({"goal": environment.tasks["goal"][i : i + 1]})
        found = rollout(alone, adapted.module(i), noise=noise[:, i : i + 1])
        for field, expected in zip(found[:9], together[:9], strict=True):
            torch.testing.assert_close(field[0], expected[i])


def by_hand(environment, policy, seed: int):
    """One episode a row, as a plain loop would have it, with the generator's draws in the same order."""
    generator = torch.Generator().manual_seed(seed)
    observation, _ = environment.reset(generator=generator)
    noise = torch.randn(environment.horizon, *observation.shape[:2], 2, generator=generator)
    rows = [[[] for _ in range(environment.num_envs)] for _ in range(environment.num_tasks)]
    over = torch.zeros(observation.shape[:2], dtype=torch.bool)
    for h in range(environment.horizon):
        outputs = policy(observation.flatten(0, 1)).unflatten(0, observation.shape[:2]).detach()
        action = outputs[..., :2] + outputs[..., 2:].exp() * noise[h]
        step = environment.step(action)
        log_prob = torch.distributions.Normal(outputs[..., :2], outputs[..., 2:].exp()).log_prob(action).sum(-1)
        for t, e in (~over).nonzero().tolist():
            row = (observation, action, step.reward, step.observation, log_prob, step.terminated, step.truncated)
            rows[t][e].append([value[t, e] for value in row])
        observation, over = step.observation, over | step.terminated | step.truncated
    return rows


def test_episodes_equal_a_plain_loop_and_are_zero_after_the_end():
    environment, policy = world(radius=0.5), tanh_policy()
    rows = by_hand(environment, policy, 3)
    found = rollout(environment, policy, generator=torch.Generator().manual_seed(3))
    assert found.mask.shape == (3, 4, 6)
    for t in range(3):
        for e in range(4):
            length = len(rows[t][e])
            assert found.mask[t, e].tolist() == [True] * length + [False] * (6 - length)
            assert found.time[t, e, :length].tolist() == list(range(length))
            for k, field in enumerate(found[:7]):
                expected = torch.stack([row[k] for row in rows[t][e]])
                torch.testing.assert_close(field[t, e, :length], expected)
                assert not field[t, e, length:].any()
    assert len({len(row) for task in rows for row in task}) > 1
    torch.testing.assert_close(found.returns()[1, 2], torch.stack([row[2] for row in rows[1][2]]).sum())


def test_every_row_ends_once():
    found = rollout(world(radius=0.5), tanh_policy())
    last = found.mask.sum(2, keepdim=True) - 1
    assert found.done.sum(2).eq(1).all() and found.done.gather(2, last).all()
    assert not (found.terminated & found.truncated).any()


def test_log_prob_is_of_the_action_before_clipping():
    policy = tanh_policy()
    with torch.no_grad():
        policy.log_std.fill_(2.0)
    environment = world(radius=0.0)
    found = rollout(environment, policy)
    assert found.action.abs().max() > 1  # the environment clips
    outputs = policy(found.observation.flatten(0, 2))
    expected = torch.distributions.Normal(outputs[:, :2], outputs[:, 2:].exp()).log_prob(found.action.flatten(0, 2))
    torch.testing.assert_close(found.log_prob.flatten(), expected.sum(-1).detach())
    assert not found.log_prob.requires_grad


def test_it_stops_when_all_are_done():
    environment = world(radius=5.0)
    assert rollout(environment, tanh_policy()).mask.sum(2).eq(1).all()
    assert len(environment.actions) == 1


def test_restarts_fill_the_row_and_unfinished_tails_do_not_count():
    environment, policy = world(num_tasks=2, radius=0.5), tanh_policy()
    options = {"restart": True, "steps": 20}
    seed = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    found = rollout(environment, policy, generator=seed(), **options)
    kept = rollout(environment, policy, generator=seed(), keep_unfinished=True, **options)
    assert found.mask.shape == (2, 4, 20) and kept.mask.all() and not found.mask.all()
    assert kept.done[:, :, -1].all() and (found.done.sum(2) > 1).any()
    for t in range(2):
        for e in range(4):
            ends = found.done[t, e].nonzero().flatten().tolist()
            assert found.mask[t, e].sum() == ends[-1] + 1
            begins = [0, *[end + 1 for end in ends[:-1]]]
            expected = [i for begin, end in zip(begins, ends, strict=True) for i in range(end - begin + 1)]
            assert found.time[t, e, : ends[-1] + 1].tolist() == expected
            for begin in begins:  # a fresh start, whereas the step before it saw where the episode ended
                assert found.observation[t, e, begin].norm() < 0.5
            for end in ends[:-1]:
                assert (found.next_observation[t, e, end] != found.observation[t, e, end + 1]).any()
    for field, whole in zip(found[:9], kept[:9], strict=True):
        real = found.mask
        assert torch.equal(field[real], whole[real]) and not field[~real].any()


def test_one_generator_gives_all_random_numbers():
    environment, policy = world(), tanh_policy()
    play = lambda seed: rollout(environment, policy, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    first, again, other = play(1), play(1), play(2)
    assert all(torch.equal(a, b) for a, b in zip(first[:9], again[:9], strict=True))
    assert not torch.equal(first.action, other.action) and not torch.equal(first.observation, other.observation)


def test_greedy_takes_the_mode():
    policy = tanh_policy()
    found = rollout(world(radius=0.0), policy, greedy=True)
    torch.testing.assert_close(found.action.flatten(0, 2), policy(found.observation.flatten(0, 2))[:, :2].detach())


def test_discrete_actions():
    environment = Chain(num_envs=2000)
    environment.set_tasks(environment.sample_tasks(2))
    policy = CategoricalPolicy(nn.Linear(3, 2))
    found = rollout(environment, policy)
    assert found.action.dtype == torch.long and found.action.shape == (2, 2000, 2)
    share = found.action[:, :, 0].double().mean(1)
    p = policy(torch.tensor([[1.0, 0, 0]])).softmax(1)[0, 1].detach()
    assert ((share - p).abs() < 4 * (p * (1 - p) / 2000).sqrt()).all()


@pytest.mark.parametrize("where", ["observation", "weights", "reward", "last observation"])
def test_nan_is_named(where, monkeypatch):
    environment, policy = world(radius=0.0), tanh_policy()
    place = {"observation": 2, "reward": 2, "last observation": 5}.get(where)
    original = environment.step

    def step(action):
        found = original(action)
        if len(environment.actions) == (place or -1) + 1:
            (found.reward if where == "reward" else found.observation)[1, 3] = torch.nan
        return found

    monkeypatch.setattr(environment, "step", step)
    adapted = adapted_to(policy, 3)
    message = {
        "observation": "the environment's observation is NaN in task 1, environment 3, step 3",
        "weights": "the policy's action is NaN in task 2, environment 0, step 0",
        "reward": "the environment's reward is NaN in task 1, environment 3, step 2",
        "last observation": "observation after the action is NaN in task 1, environment 3, step 5",
    }[where]
    if where == "weights":
        with torch.no_grad():
            adapted.params["log_std"][2] = torch.nan
    with pytest.raises(ValueError, match=message):
        rollout(environment, policy, adapted=adapted)


def test_bad_input_is_refused():
    environment, policy = world(), tanh_policy()
    with pytest.raises(ValueError, match="restart=True"):
        rollout(environment, policy, steps=3)
    with pytest.raises(ValueError, match="at least 1"):
        rollout(environment, policy, steps=0, restart=True)
    with pytest.raises(ValueError, match="another network"):
        rollout(environment, policy, adapted=adapted_to(tanh_policy(), 3))
    with pytest.raises(ValueError, match="runs 3 tasks"):
        rollout(environment, policy, adapted=adapted_to(policy, 2))
    with pytest.raises(ValueError, match="action_dim=2"):
        rollout(environment, GaussianPolicy(qs.nets.MLP(2, [], 3), 3))
    with pytest.raises(ValueError, match="noise has shape"):
        rollout(environment, policy, noise=torch.zeros(2, 3, 4, 2))
    with pytest.raises(ValueError, match="no tasks"):
        rollout(Points(), policy)
    chain = Chain()
    chain.set_tasks(chain.sample_tasks(2))
    with pytest.raises(ValueError, match="2 discrete actions"):
        rollout(chain, CategoricalPolicy(nn.Linear(3, 3)))
    with pytest.raises(ValueError, match="2 discrete actions"):
        rollout(chain, GaussianPolicy(nn.Linear(3, 1), 1))
