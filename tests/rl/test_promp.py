"""ProMP: every step of its outer loop against the paper's equations by enumeration; clip and penalty at work."""

from typing import NamedTuple

import pytest
import torch
from rl.enumerated import (
    TRAJECTORIES,
    flat,
    log_pi,
    log_policy,
    practised,
    predicted,
    probability,
    slope,
    to_go,
)
from rl.worlds import Points, sure_of_the_first, two_arms
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.rl.decisions import Decisions

RATE = 0.4


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


def down(rate=1.0):
    return lambda params: torch.optim.SGD(params, lr=rate)


def tabular(**options):
    torch.manual_seed(0)
    policy = qs.rl.CategoricalPolicy(nn.Linear(3, 2))
    for p in policy.parameters():
        nn.init.normal_(p)
    return qs.rl.ProMP(policy, **{"lr": 2 * RATE, "optimizer": down(), **options})


def walker(kind=qs.rl.ProMP, **options):
    torch.manual_seed(0)
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [6], 2, activation="tanh"), 2)
    return kind(policy, **{"lr": 0.2, "optimizer": down(), **options})


def walked(made, tasks=5):
    """Episodes of unequal lengths."""
    environment = Points(num_envs=3, horizon=6)
    environment.set_tasks(environment.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return made.practise(environment, generator=torch.Generator().manual_seed(3))


def step(made, practice):
    """By which the parameters move, and what is told."""
    before = flat(made)
    told = made.step(practice)
    return before - flat(made), told


class ByHand(NamedTuple):
    """The objective of one task from the paper's equations; the mean over an episode's two transitions is half of sums.

    Args:
        reward: `[3, 2]`.
        old: theta before, and adapted after 1, 2, ... steps: who drew the episodes.
    """

    reward: Tensor
    old: list[Tensor]

    def surrogate(self, theta: Tensor, k: int, clip: float = torch.inf) -> Tensor:
        """E_old[sum_t min(rho A, clip(rho) A)] / 2 on the episodes of stage k."""
        total = torch.zeros(())
        for tau in TRAJECTORIES:
            ratio = (log_policy(theta, tau) - log_policy(self.old[k], tau)).exp()
            advantage = to_go(self.reward, tau)
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            total = total + probability(self.old[k], tau) * gain.sum() / 2
        return total

    def kl(self, theta: Tensor, k: int) -> Tensor:
        """KL(old || new) where the trajectories of `everything` come by, each once."""
        total = torch.zeros(())
        for _, state, _ in TRAJECTORIES:
            for seen, action in ((0, 0), (0, 1), (state, 0), (state, 1)):
                new, old = log_pi(theta, seen, action), log_pi(self.old[k], seen, action)
                total = total + old.exp() * (old - new) / (2 * len(TRAJECTORIES))
        return total

    def stages(self, theta: Tensor) -> list[Tensor]:
        """theta, and adapted anew on each stage in turn, up the ratio surrogate."""
        found = [theta]
        for k in range(len(self.old) - 1):
            (up,) = torch.autograd.grad(self.surrogate(found[-1], k), found[-1], create_graph=True)
            found.append(found[-1] + 2 * RATE * up)
        return found

    def loss(self, theta: Tensor, clip: float, inner_kl: float) -> tuple[Tensor, Tensor, Tensor]:
        """-J, and its divergences: inner, and after adapting."""
        *before, after = self.stages(theta)
        inner = sum((self.kl(b, k) for k, b in enumerate(before)), torch.zeros(())) / max(len(before), 1)
        outer = self.kl(after, len(before))
        return -self.surrogate(after, len(before), clip) + inner_kl * inner, inner, outer


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize(("clip", "inner_kl"), [(0.05, 0.0), (0.1, 2.0)])
def test_every_step_is_the_papers(steps, clip, inner_kl):
    """Three long steps of plain descent: far from theta_old, with ratios beyond the clip and a penalty."""
    made = tabular(steps=steps, clip=clip, inner_kl=inner_kl, outer_steps=3, optimizer=down(3.0))
    theta, rewards = flat(made), torch.randn(3, 3, 2)
    tasks = []
    for reward in rewards:
        old = [theta]
        for _ in range(steps):
            old.append(old[-1] + RATE * slope(old[-1], reward))
        tasks.append(ByHand(reward, old))

    def mean(x):
        return [sum(parts) / 3 for parts in zip(*(task.loss(x, clip, inner_kl) for task in tasks), strict=True)]

    x, losses, norms = theta, [], []
    for _ in range(3):
        x = x.detach().requires_grad_()
        loss = mean(x)[0]
        (gradient,) = torch.autograd.grad(loss, x)
        losses.append(loss.item())
        norms.append(gradient.norm().item())
        x = x - 3.0 * gradient
    after, inner, outer = (value.item() for value in mean(x.detach().requires_grad_()))

    told = made.step(practised(theta, rewards, RATE, steps))
    torch.testing.assert_close(flat(made), x.detach())
    expected = {"surrogate_before": losses[0], "surrogate_after": after, "improvement": losses[0] - after}
    expected |= {"inner_kl": inner, "kl": outer, "gradient_norm": norms[0]}
    assert {k: told[k] for k in expected} == pytest.approx(expected)
    assert 0 < told["clipped"] < 1 and set(told) == {*expected, "clipped"}
    assert (told["inner_kl"] > 1e-4) == (steps > 0)


@pytest.mark.parametrize("inner_kl", [0.0, 5.0])
def test_the_first_gradient_is_that_of_lvc(inner_kl):
    """At theta_old the ratios are 1, and the penalty has no gradient."""
    made, rewards = tabular(outer_steps=1, inner_kl=inner_kl), torch.randn(3, 3, 2)
    theta, expected = flat(made), 0
    for reward in rewards:
        after = slope(theta + RATE * slope(theta, reward), reward)
        expected = expected + (after + RATE * predicted(theta, reward, torch.zeros(3), "lvc", None) @ after) / 3
    moved, _ = step(made, practised(theta, rewards, RATE))
    torch.testing.assert_close(moved, -expected / 2)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_gradient_is_that_of_maml_with_lvc(steps):
    made = walker(outer_steps=1, steps=steps)
    plain = walker(qs.rl.MAMLVPG, estimator="lvc", steps=steps)
    practice = walked(made)
    torch.testing.assert_close(step(made, practice)[0], step(plain, practice)[0])


def test_the_clip_bounds_the_change_of_the_policies():
    """With one step up, all that pays has a ratio above 1, and all that costs one below: nothing is left to gain."""
    found = {}
    for clip in (1e-4, 0.3, 1e9):
        made = walker(clip=clip, inner_kl=0.0, outer_steps=20, optimizer=down(0.3))
        found[clip] = step(made, walked(made))[1]
    assert found[1e-4]["kl"] < found[0.3]["kl"] < found[1e9]["kl"]
    assert found[1e-4]["clipped"] > 0.9 and found[1e9]["clipped"] == 0


def test_the_penalty_pulls_back():
    found = []
    for weight in (0.0, 1.0, 10.0):
        made = walker(inner_kl=weight, outer_steps=20, optimizer=down(0.05))
        found.append(step(made, walked(made))[1]["inner_kl"])
    assert found[0] > 1.5 * found[1] > 2 * found[2] > 0


@pytest.mark.parametrize("steps", [1, 2])
def test_a_batch_is_its_tasks_one_by_one(steps):
    options = {"steps": steps, "outer_steps": 1}
    practice = walked(walker(**options))
    assert not practice.after.mask.all()
    moved, told = step(walker(**options), practice)
    alone = [
        practice._replace(decisions=tuple(Decisions(*(f[i : i + 1] for f in d)) for d in practice.decisions))
        for i in range(5)
    ]
    expected = [step(walker(**options), one) for one in alone]
    torch.testing.assert_close(moved, sum(m for m, _ in expected) / 5)
    assert told["surrogate_before"] == pytest.approx(sum(t["surrogate_before"] for _, t in expected) / 5)


def test_chunks_change_nothing():
    found = [step(made, walked(made)) for made in (walker(chunk=c, optimizer=None) for c in (1, 2, None, "auto"))]
    for moved, told in (*found[:2], found[3]):
        torch.testing.assert_close(moved, found[2][0])
        assert told == pytest.approx(found[2][1])


def test_it_adapts_as_maml_does():
    """At test time episodes are an actor's own: the ratio is 1."""
    environment, chance = Points(num_envs=3, horizon=6), torch.Generator().manual_seed(0)
    environment.set_tasks(environment.sample_tasks(4, generator=chance))
    made, plain = walker(), walker(qs.rl.MAMLVPG)
    episodes = made.actor().rollout(environment, generator=chance)
    x = torch.randn(4, 5, 2)
    for rates in (None, [0.3, 0.1]):
        found = [learner.actor(lr=rates).adapt(episodes)(x) for learner in (made, plain)]
        torch.testing.assert_close(*found)
    assert not torch.equal(made.actor()(x), found[0])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"clip": 0}, ValueError, "clip=0; expected a positive number"),
        ({"clip": None}, ValueError, "clip=None; expected a positive number"),
        ({"inner_kl": -1e-3}, ValueError, "inner_kl=-0.001"),
        ({"outer_steps": 0}, ValueError, "outer_steps=0"),
        ({"outer_steps": 2.5}, ValueError, "outer_steps=2.5"),
        ({"steps": -1}, ValueError, "steps=-1"),
        ({"lr": -0.1}, ValueError, "lr=-0.1"),
        ({"outer_lr": float("nan")}, ValueError, "outer_lr=nan; expected a positive number"),
        ({"chunk": 0}, ValueError, "chunk=0"),
        ({"optimizer": "adam"}, TypeError, "optimizer='adam'; expected a callable"),
        ({"optimizer": torch.optim.LBFGS}, ValueError, "LBFGS, which evaluates the loss itself"),
    ],
)
def test_bad_options_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        walker(**options)


def test_it_learns_to_adapt():
    """Two arms of which either may pay, by a policy that is all but sure of the first: it learns to be open."""
    environment, chance = two_arms(), torch.Generator().manual_seed(0)
    made = qs.rl.ProMP(sure_of_the_first(), lr=2.0, outer_lr=0.1, chunk=None)
    found = [made.update(environment, generator=chance)["return_1"] for _ in range(12)]
    assert sum(found[-4:]) / 4 > 6.5 > 5.5 > found[0]  # of 10 pulls, 5 by chance
