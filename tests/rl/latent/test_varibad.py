"""VariBAD: its belief knows the past alone, is what the exact posterior is, and is learned from the bound alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.trial_buffer import TrialBuffer
from quickstudy.rl.latent.varibad import VariBAD

WORLDS: dict[str, Any] = {
    "bandit": lambda: qs.rl.Bandit(arms=3, num_envs=2, horizon=6),
    "cartpole, which ends early": lambda: qs.rl.CartPole(masspole=5.0, num_envs=3, horizon=40),
    "navigation": lambda: qs.rl.Navigation2D(num_envs=2, horizon=5),
}


def world(name: str, tasks: int = 3) -> Any:
    env = WORLDS[name]()
    env.set_tasks(env.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return env


def learner(env: Any, **options: Any) -> VariBAD:
    torch.manual_seed(0)
    found = VariBAD.of(env, **{"width": 8, "latent": 2, "hidden": [8], "vae_steps": 2, **options})
    with torch.no_grad():  # so that actions depend on the belief
        for parameter in found.policy.network.layers[-1].parameters():
            parameter.mul_(200)
    return found


@pytest.mark.parametrize("name", WORLDS)
def test_the_belief_is_the_same_in_a_batch_as_step_by_step(name: str) -> None:
    """The probabilities of the actions that were taken, over two episodes that may end early."""
    env = world(name)
    made = learner(env)
    practice = made.practise(env, generator=torch.Generator().manual_seed(1))
    reading = made.autoencoder.encoder.reading(
        list(practice.episodes), made.autoencoder.encoder.initial(3 * env.num_envs)
    )
    again = made.policy.log_prob(made.policy(made.autoencoder.encoder.seen(reading)), reading.action)
    torch.testing.assert_close(torch.where(reading.mask, again, 0.0), reading.log_prob)
    belief, seen = (
        made.autoencoder.beliefs(practice.episodes),
        made.autoencoder.encoder.believed(made.autoencoder.encoder.seen(reading)),
    )
    torch.testing.assert_close(belief.mean, seen.mean)
    torch.testing.assert_close(belief.log_variance, seen.log_variance)


def test_a_belief_knows_nothing_of_the_future() -> None:
    """What happens at step h changes the beliefs after it, and none before or at h."""
    env = world("navigation")
    made = learner(env)
    episodes = made.practise(env, generator=torch.Generator().manual_seed(1)).episodes
    before = made.autoencoder.beliefs(episodes)
    for name in ("reward", "action", "next_observation"):
        changed = getattr(episodes[0], name).clone()
        changed[:, :, 2] += 1
        after = made.autoencoder.beliefs([episodes[0]._replace(**{name: changed}), episodes[1]])
        moved = (after.mean != before.mean).any(-1)
        assert not bool(moved[:, :3].any())
        assert bool(moved[:, 3:].all()) == (name != "next_observation")  # which is the observation of step 3, too


def test_each_loss_trains_its_own_networks() -> None:
    """PPO leaves encoder and decoders alone, and the bound leaves policy and value function alone."""
    env = world("bandit")
    made = learner(env)
    acting, believing = (
        [p for part in parts for p in part.parameters()] for parts in ((made.policy, made.critic), (made.autoencoder,))
    )
    assert len(acting) + len(believing) == len(list(made.parameters()))
    learn, seen = made.learn_belief, dict[str, Any]()

    def copies(parameters: list[Any]) -> list[Tensor]:
        return [p.detach().clone() for p in parameters]

    def watched(**options: Any) -> dict[str, float]:
        seen["believing"], seen["acting"] = copies(believing), copies(acting)
        return learn(**options)

    made.learn_belief = watched  # type: ignore[method-assign]
    before = copies(acting), copies(believing)
    made.update(env, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, seen["believing"], before[1]))
    assert not any(map(torch.equal, seen["acting"], before[0]))
    assert all(map(torch.equal, acting, seen["acting"]))
    assert not any(map(torch.equal, believing, seen["believing"]))


def test_the_bound_is_per_transition_however_many_beliefs_are_drawn() -> None:
    env = world("cartpole, which ends early")
    made = learner(env, vae_beliefs=6, decode_transitions=True)
    made.update(env, generator=torch.Generator().manual_seed(0))
    trials, drawn = made.trials.trials(), []
    assert not bool(trials.mask.all())
    with torch.no_grad():
        for seed in range(100):
            loss, told = made.autoencoder.loss(trials, count=6, generator=torch.Generator().manual_seed(seed))
            assert float(loss) == pytest.approx(-told["log_likelihood"], abs=0.1 * abs(float(loss)))
            drawn.append(told["log_likelihood"])
        whole = [
            made.autoencoder.loss(trials, generator=torch.Generator().manual_seed(s))[1]["log_likelihood"]
            for s in range(20)
        ]
    spread = torch.tensor(drawn).std() / 100**0.5 + torch.tensor(whole).std() / 20**0.5
    assert abs(torch.tensor(drawn).mean() - torch.tensor(whole).mean()) < 4 * spread


def trained_on(probability: Tensor, pulls: int, **options: Any) -> VariBAD:
    """A learner that pulls at random, and has seen bandits with these probabilities `[T, 2]`."""
    env = qs.rl.Bandit(arms=2, num_envs=1, horizon=pulls)
    torch.manual_seed(0)
    small: dict[str, Any] = {"width": 16, "latent": 4, "hidden": [32], "vae_beliefs": 8, "episodes": 1}
    made = VariBAD.of(env, reads=("action",), rewards="positive", **small, **options)
    made.trials = TrialBuffer(len(probability))
    episodes = pulled(made, probability, pulls)
    made.trials.add(made.autoencoder.encoder.reading([episodes], made.autoencoder.encoder.initial(len(probability))))
    made.learn_belief(generator=torch.Generator().manual_seed(0))
    return made


def pulled(made: VariBAD, probability: Tensor, pulls: int) -> Episodes:
    env = qs.rl.Bandit(arms=2, num_envs=1, horizon=pulls)
    env.set_tasks({"probability": probability})
    return made.practise(env, generator=torch.Generator().manual_seed(1)).episodes[0]


def test_one_pull_tells_which_of_two_arms_always_pays() -> None:
    chance = torch.Generator().manual_seed(0)
    good = torch.nn.functional.one_hot(torch.randint(2, (600,), generator=chance), 2).float()
    made = trained_on(good[:500], pulls=6, vae_steps=150, vae_trials=50, vae_lr=1e-2)
    found = made.autoencoder.decoded_rewards(
        made.autoencoder.beliefs([pulled(made, good[500:], 6)]), action=torch.arange(2)
    )
    error = (found - good[500:, None]).abs().mean((0, 2))
    assert float((found[:, 0].mean(0) - 0.5).abs().max()) < 0.07  # before the first pull
    assert float(error[1]) < 0.15 and float(error[2:].max()) < 0.08


def test_its_belief_about_a_bandit_is_nearly_exact() -> None:
    """Arms pay with probabilities from U(0, 1): after n pulls with s payments, the next pays with (s + 1) / (n + 2)."""
    chance = torch.Generator().manual_seed(0)
    probability = torch.rand(1200, 2, generator=chance)
    made = trained_on(probability[:1000], pulls=20, vae_steps=220, vae_lr=3e-2, kl=0.1)
    episodes = pulled(made, probability[1000:], 20)
    found = made.autoencoder.decoded_rewards(made.autoencoder.beliefs([episodes]), action=torch.arange(2))
    arm = torch.nn.functional.one_hot(episodes.action[:, 0], 2)
    paid = arm * episodes.reward[:, 0].unsqueeze(-1)
    counts, payments = (part.cumsum(1) - part for part in (arm, paid))  # before each pull
    exact = (payments + 1) / (counts + 2)
    error, ignorant = (found - exact).abs().mean((0, 2)), (0.5 - exact).abs().mean((0, 2))
    assert float(error.max()) < 0.1 and float(error[-1]) < 0.4 * float(ignorant[-1])


def test_equal_generators_give_equal_updates() -> None:
    results = []
    for _ in range(2):
        env = world("bandit")
        made = learner(env)
        metrics = made.update(env, generator=torch.Generator().manual_seed(3))
        results.append([p.detach().clone() for p in made.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert {"return_0", "return_1", "log_likelihood", "divergence"} <= metrics.keys()
    assert metrics["loss"] == -metrics["return_1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kl": -1.0}, "kl=-1.0"),
        ({"buffer": 0}, "buffer=0"),
        ({"vae_beliefs": 0}, "vae_beliefs=0"),
        ({"latent": 0}, "latent=0|0"),
        ({"discount": 1.5}, "discount=1.5; expected a number from 0 to 1"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VariBAD.of(world("bandit"), **options)


def test_what_the_decoder_reads_must_be_given() -> None:
    env = world("bandit")
    made = learner(env, reads=("action", "next_observation"))
    belief = made.autoencoder.beliefs(made.practise(env).episodes)
    with pytest.raises(ValueError, match="reads next_observation; give it"):
        made.autoencoder.decoded_rewards(belief, action=torch.arange(3))
    assert made.autoencoder.decoded_rewards(
        belief, action=torch.arange(3), next_observation=torch.ones(3, 1)
    ).shape == (6, 12, 3)
