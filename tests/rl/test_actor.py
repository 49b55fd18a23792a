"""Adapted policies as plain modules, saved and loaded."""

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.runs.reading import CheckpointError

LEARNERS = {
    "trpo": lambda policy: qs.rl.MAMLTRPO(policy, lr=0.1),
    "learned rates": lambda policy: qs.rl.MAMLVPG(policy, lr=torch.nn.Parameter(torch.tensor(0.3)), estimator="dice"),
    "promp": lambda policy: qs.rl.ProMP(policy, lr=[0.1, 0.05], steps=2),
}


def learner(name: str = "trpo") -> Any:
    torch.manual_seed(0)
    return LEARNERS[name](qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))


def board(tasks: int = 3) -> Any:
    env = qs.rl.Navigation2D(num_envs=3, horizon=5)
    env.set_tasks(env.sample_tasks(tasks, generator=torch.Generator().manual_seed(0)))
    return env


def adapted(actor: Any, steps: int = 2) -> Any:
    chance = torch.Generator().manual_seed(1)
    for _ in range(steps):
        actor = actor.adapt(actor.rollout(board(), generator=chance))
    return actor


X = torch.linspace(-1, 1, 3 * 5 * 2).reshape(3, 5, 2)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("name", LEARNERS)
def test_an_actor_is_saved_and_loaded(tmp_path: Any, name: str, steps: int) -> None:
    actor = adapted(learner(name).actor(), steps)
    assert qs.save(actor, tmp_path / "actor") == tmp_path / "actor"
    loaded = qs.load(tmp_path / "actor")
    assert isinstance(loaded, qs.rl.Actor) and torch.equal(loaded(X), actor(X))
    runs = [a.rollout(board(), generator=torch.Generator().manual_seed(3)) for a in (actor, loaded)]
    assert torch.equal(runs[0].reward, runs[1].reward)
    on = [a.adapt(runs[0])(X) for a in (actor, loaded)]  # both go on
    assert torch.equal(*on) and not torch.equal(on[0], actor(X))
    qs.save(loaded, tmp_path / "actor")  # an earlier save is replaced
    qs.save(loaded.learner, tmp_path / "actor")
    assert type(qs.load(tmp_path / "actor")) is type(actor.learner)


@pytest.mark.parametrize("lr", [0.7, [0.7, 0.2]], ids=["one", "several"])
def test_rates_of_its_own_are_saved_too(tmp_path: Any, lr: Any) -> None:
    actor = adapted(learner("promp").actor(lr=lr))
    qs.save(actor, tmp_path / "actor")
    assert torch.equal(qs.load(tmp_path / "actor")(X), actor(X))
    assert not torch.equal(adapted(learner("promp").actor())(X), actor(X))


@pytest.mark.parametrize("steps", [0, 2])
def test_a_task_has_a_plain_policy(steps: int) -> None:
    actor = adapted(learner().actor(), steps)
    for i in range(3):
        policy = actor.task(i)
        assert isinstance(policy, qs.rl.GaussianPolicy) and policy is not actor.policy
        torch.testing.assert_close(policy(X[i]), actor(X)[i])
        assert policy.mode(policy(X[i])).shape == (5, 2)
        with torch.no_grad():
            policy.log_std.add_(1.0)  # a module of its own
    torch.testing.assert_close(actor.task(0)(X[0]), actor(X)[0])


@pytest.mark.parametrize("what", ["learner", "policy", "adapted policy"])
def test_learners_and_policies_are_saved_too(tmp_path: Any, what: str) -> None:
    made = learner()
    given = {"learner": made, "policy": made.policy, "adapted policy": adapted(made.actor()).task(1)}[what]
    qs.save(given, tmp_path / "it")
    loaded = qs.load(tmp_path / "it")
    assert type(loaded) is type(given) and not loaded.training
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in given.state_dict().items())


MEMORIES = {
    "RL2": (lambda: qs.rl.Bandit(arms=3, num_envs=2, horizon=5), lambda env: qs.rl.RL2.of(env, width=8)),
    "VariBAD": (lambda: qs.rl.Bandit(arms=3, num_envs=2, horizon=5), lambda env: qs.rl.VariBAD.of(env, width=8)),
    "PEARL": (lambda: qs.rl.Navigation2D(num_envs=2, horizon=5), lambda env: qs.rl.PEARL.of(env, hidden=[8])),
}


@pytest.mark.parametrize("kind", MEMORIES)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_memory_is_saved_and_loaded(tmp_path: Any, steps: int, kind: str) -> None:
    world, make = MEMORIES[kind]
    env = world()
    env.set_tasks(env.sample_tasks(4, generator=torch.Generator().manual_seed(0)))
    actor, chance = make(env).actor(), torch.Generator().manual_seed(1)
    for _ in range(steps):
        actor = actor.adapt(actor.rollout(env, generator=chance))
    qs.save(actor, tmp_path / "actor")
    loaded = qs.load(tmp_path / "actor")
    runs = [a.rollout(env, generator=torch.Generator().manual_seed(3)) for a in (actor, loaded)]
    assert torch.equal(runs[0].action, runs[1].action) and torch.equal(runs[0].log_prob, runs[1].log_prob)
    assert list(qs.rl.evaluate(loaded.learner, env, tasks=2)) == ["return/steps=0", "return/steps=1"]


def test_what_cannot_be_saved_says_why(tmp_path: Any) -> None:
    made = learner()
    alone = qs.rl.Actor(made.policy, made.inner, made.judge)
    with pytest.raises(ValueError, match="belongs to no learner; save one that learner.actor"):
        qs.save(alone, tmp_path / "actor")
    with pytest.raises(ValueError, match="cannot be saved with an actor; give actor.lr=.... numbers"):
        qs.save(made.actor(lr=torch.nn.Parameter(torch.tensor(0.1))), tmp_path / "actor")
    with pytest.raises(TypeError, match="learner is a Linear; expected"):
        qs.save(torch.nn.Linear(1, 1), tmp_path / "actor")
    assert not (tmp_path / "actor").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="was not made by quickstudy.save"):
        qs.save(made.actor(), tmp_path / "file")


def test_a_damaged_actor_is_named(tmp_path: Any) -> None:
    qs.save(adapted(learner().actor()), tmp_path / "actor")
    file = tmp_path / "actor/training.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="training.safetensors"):
        qs.load(tmp_path / "actor")
    with pytest.raises(ValueError, match="not what Actor.saved returned"):
        learner().actor().restored({"lr": None})
