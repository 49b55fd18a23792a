"""What a baseline learns is the learner's: in its checkpoints, bit for bit, and unchanged by evaluations."""

import pytest
import torch
from rl import made
from torch import nn

import quickstudy as qs
from quickstudy.rl.estimation.baseline import check_saved

LEARNERS = {
    "trpo": lambda policy, judge: qs.rl.MAMLTRPO(policy, lr=0.1, judge=judge),
    "vpg": lambda policy, judge: qs.rl.MAMLVPG(policy, lr=0.1, judge=judge),
    "promp": lambda policy, judge: qs.rl.ProMP(policy, lr=0.1, outer_steps=2, judge=judge),
}


def baseline(**options):
    return qs.rl.NetworkBaseline(qs.nets.MLP(2, [4], 1), lr=1e-2, epochs=2, batch_size=8, **options)


def learner(name="vpg", **options):
    torch.manual_seed(0)
    policy = qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2)
    return LEARNERS[name](policy, qs.rl.Judge(baseline=baseline(**options)))


def board():
    return qs.rl.Navigation2D(num_envs=3, horizon=5)


def stopped(made_, after):
    update, calls = made_.update, []

    def stopping(environment, *, generator):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return update(environment, generator=generator)

    made_.update = stopping
    return made_


def same(a, b):
    """Equal leaves of two states, tensors or not."""
    a, b = (torch.utils._pytree.tree_leaves(state) for state in (a, b))
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("own", [False, True], ids=["torch's chance", "its own"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_resumed_run_ends_the_same(tmp_path, name, own):
    def make():
        return learner(name, **({"generator": torch.Generator().manual_seed(4)} if own else {}))

    options = {"steps": 4, "tasks": 2, "checkpoint_every": 1}
    whole, again = make(), make()
    qs.rl.fit(whole, board(), **options, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        qs.rl.fit(stopped(make(), 2), board(), **options, out=tmp_path / "broken")
    qs.rl.fit(again, board(), **options, out=tmp_path / "broken", exist="resume")
    assert same(whole.state_dict(), again.state_dict())
    assert whole.state_dict()["judge.baseline._extra_state"]["optimizer"]["state"]
    loaded = qs.load(tmp_path / "whole", which="last", learner=make() if own else None)
    assert same(whole.state_dict(), loaded.state_dict())


@pytest.mark.parametrize("name", LEARNERS)
def test_the_outer_step_does_not_train_it(name):
    """It would have no gradient; and its own optimiser must be the only one that moves it."""
    made_, env = learner(name), board()
    env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    practice = made_.practise(env, generator=torch.Generator().manual_seed(0))
    trained = [p.clone() for p in made_.judge.parameters()]
    before = [p.clone() for p in made_.policy.parameters()]
    made_.step(practice)
    assert all(torch.equal(a, b) for a, b in zip(trained, made_.judge.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, made_.policy.parameters(), strict=True))


def test_a_trunk_shared_with_the_policy_is_trained_by_both():
    from quickstudy.rl.outer import outer_parameters

    trunk = nn.Linear(2, 8)
    policy = qs.rl.GaussianPolicy(nn.Sequential(trunk, nn.Tanh(), nn.Linear(8, 2)), 2)
    value = nn.Sequential(trunk, nn.Tanh(), nn.Linear(8, 1))
    made_ = qs.rl.MAMLVPG(policy, judge=qs.rl.Judge(baseline=qs.rl.NetworkBaseline(value)))
    outer = {id(p) for p in outer_parameters(made_)}
    assert outer == {id(p) for p in policy.parameters()} and id(value[2].weight) not in outer


def test_evaluations_leave_it_alone():
    found, judge = made.episodes(), qs.rl.Judge(baseline=baseline())
    judge(found)
    before = judge.state_dict()
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in before.items()}
    trained = qs.rl.Judge(baseline=baseline())
    trained.load_state_dict(before)
    judge.eval()
    state = torch.get_rng_state()
    evaluated = judge(found)
    assert same(judge.state_dict(), before)
    torch.set_rng_state(state)
    assert torch.equal(trained(found).advantage, evaluated.advantage)  # it adapts all the same


def test_moments_follow_the_weights():
    found, value = made.episodes(), baseline()
    returns = found.reward
    value.fit(found, returns)
    value.double()
    found = found._replace(observation=found.observation.double())
    assert value.fit(found, returns.double())(found.observation, found.time).dtype == torch.float64


def test_states_of_another_baseline_are_refused():
    value, other = baseline(), baseline(generator=torch.Generator())
    with pytest.raises(ValueError, match="not the state of a NetworkBaseline"):
        value.set_extra_state({"optimizer": {}})
    with pytest.raises(ValueError, match="generator= was given only there or only here"):
        value.set_extra_state(other.get_extra_state())
    with pytest.raises(ValueError, match="it is not a dictionary with a state"):
        value.set_extra_state({"optimizer": {}, "generator": None})


class Holds:
    def __init__(self, **parts):
        self.__dict__ |= parts

    def fit(self, episodes, returns):
        return lambda observation, time: torch.zeros(time.shape)


class Remembers(Holds):
    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    "given",
    [
        Holds(network=nn.Linear(2, 1)),
        Holds(weights=torch.zeros(3, requires_grad=True)),
        Holds(optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)),
        Remembers(),
    ],
    ids=["a network", "weights", "an optimiser", "a state"],
)
def test_a_baseline_that_learns_and_could_not_be_saved_is_refused(given):
    with pytest.raises(TypeError, match="learns .* is not a torch.nn.Module.* derive"):
        qs.rl.Judge(baseline=given)


def test_baselines_that_do_not_learn_are_taken():
    check_saved(Holds(clip=3.0))
    check_saved(qs.rl.LinearBaseline())
    with pytest.raises(TypeError, match="baseline is a int; expected an object with fit"):
        qs.rl.Judge(baseline=3)
    with pytest.raises(ValueError, match="epochs=0"):
        qs.rl.NetworkBaseline(nn.Linear(2, 1), epochs=0)
