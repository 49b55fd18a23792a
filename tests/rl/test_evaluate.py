"""Returns on unseen tasks by adaptation step: against a loop by hand, on held-out tasks, nothing changed."""

from typing import Any

import pytest
import torch
from rl.worlds import Points

import quickstudy as qs
from quickstudy.chance import Stream, mix
from quickstudy.rl.evaluation import by_adaptation_step

LEARNERS = {
    "trpo": lambda policy: qs.rl.MAMLTRPO(policy, lr=0.1),
    "vpg": lambda policy: qs.rl.MAMLVPG(policy, lr=[0.1, 0.2], steps=2),
    "promp": lambda policy: qs.rl.ProMP(policy, lr=0.1),
    "pretrained": lambda policy: qs.rl.MAMLVPG(policy, steps=0),
}


def learner(name: str = "trpo") -> Any:
    torch.manual_seed(0)
    return LEARNERS[name](qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))


def board(**options: Any) -> Any:
    return qs.rl.Navigation2D(**{"num_envs": 3, "horizon": 5, **options})


@pytest.mark.parametrize("name", LEARNERS)
def test_it_is_the_loop_of_acting_and_adapting(name: str) -> None:
    made, env = learner(name), board()
    chance = torch.Generator().manual_seed(mix(7, 0, Stream.EVALUATION))
    env.set_tasks(env.sample_tasks(4, split="test", generator=chance))
    actor, expected = made.actor(), []
    for _ in range(3):
        episodes = actor.rollout(env, generator=chance)
        expected.append(episodes.returns().mean(1))
        actor = actor.adapt(episodes)
    found = qs.rl.evaluate(made, board(), tasks=4, steps=(0, 1, 2), seed=7)
    assert list(found) == ["return/steps=0", "return/steps=1", "return/steps=2"]
    for metric, returns in zip(found.values(), expected, strict=True):
        assert (
            metric.mean == pytest.approx(float(returns.mean()), rel=1e-5) and metric.n == 4 and metric.over == "tasks"
        )
    each = qs.rl.returns_by_step(made, board(), tasks=4, steps=(0, 2), seed=7)
    torch.testing.assert_close(each, torch.stack([expected[0], expected[2]]))
    rows = by_adaptation_step(torch.stack([each, each + 1], 1))
    assert rows[1]["mean"].value == pytest.approx(float(expected[2].mean()) + 0.5, rel=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_by_default_the_steps_are_those_of_training(name: str) -> None:
    made = learner(name)
    found = qs.rl.evaluate(made, board(), tasks=2)
    assert list(found) == [f"return/steps={k}" for k in range(made.steps + 1)]


def test_tasks_are_of_the_split_and_the_seed() -> None:
    asked = []

    class Asks(Points):
        def sample_tasks(self, num_tasks: int, *, split: str = "train", generator: Any = None) -> Any:
            asked.append((num_tasks, split))
            return super().sample_tasks(num_tasks, split=split, generator=generator)

    runs = [
        means(qs.rl.evaluate(learner(), Asks(), tasks=3, **o)) for o in ({}, {}, {"seed": 1}, {"split": "validation"})
    ]
    assert asked == [(3, "test"), (3, "test"), (3, "test"), (3, "validation")]
    assert runs[0] == runs[1] != runs[2]


def test_success_is_measured_where_it_is_told() -> None:
    class Tells(Points):
        def step(self, action: Any) -> Any:
            step = super().step(action)
            return step._replace(info={"is_success": (self.clock == 3) & (self.tasks["goal"][:, None, 0] > 0)})

    env = Tells()
    found = qs.rl.evaluate(learner(), env, tasks=20, steps=0)
    share = float((env.tasks["goal"][:, 0] > 0).float().mean())
    assert 0 < share < 1 and found["success/steps=0"].mean == pytest.approx(share, abs=0.3)
    assert qs.rl.MAMLVPG(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2)).update(env)["success_1"] <= 1


def tensors(made: Any) -> list[torch.Tensor]:
    """All tensors in a learner's state, those of optimisers included."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(made.state_dict()) if isinstance(leaf, torch.Tensor)]


def means(found: Any) -> list[float]:
    return [metric.mean for metric in found.values()]


def test_nothing_of_the_learner_changes() -> None:
    judge = qs.rl.Judge(baseline=qs.rl.NetworkBaseline(qs.nets.MLP(2, [4], 1)), reward_scale=qs.rl.RewardScale())
    policy = qs.rl.GaussianPolicy(qs.rl.NormalizedObservations(qs.nets.MLP(2, [4], 2), 2), 2)
    made = qs.rl.MAMLVPG(policy, judge=judge)
    env = board()
    env.set_tasks(env.sample_tasks(2))
    made.update(env)
    state, before = torch.get_rng_state(), [leaf.clone() for leaf in tensors(made)]
    first = qs.rl.evaluate(made, board(), tasks=3)
    assert torch.equal(torch.get_rng_state(), state) and made.training and judge.baseline.training
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(made), strict=True))
    assert means(qs.rl.evaluate(made, board(), tasks=3)) == means(first)


def test_other_rates_are_taken() -> None:
    plain, none = (means(qs.rl.evaluate(learner(), board(), tasks=3, **o)) for o in ({}, {"lr": 0.0}))
    assert plain[0] == none[0] and plain[1] != none[1]


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"tasks": 0}, ValueError, "tasks=0"),
        ({"steps": -1}, ValueError, "steps=-1"),
        ({"steps": ()}, ValueError, "steps is empty"),
        ({"split": "dev"}, ValueError, "unknown split 'dev'"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"task": 3}, TypeError, "did you mean"),
    ],
)
def test_bad_arguments_are_refused(options: Any, kind: Any, says: str) -> None:
    with pytest.raises(kind, match=says):
        qs.rl.evaluate(learner(), board(), **options)
    with pytest.raises(TypeError, match="learner is a MAML; expected a policy learner with actor"):
        qs.rl.evaluate(qs.MAML(qs.nets.MLP(1, [4], 1)), board())
