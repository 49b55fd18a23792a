"""Runs of what acts: the same whether or not they were interrupted; refused before anything is written."""

import json
import math
import warnings

import pytest
import torch
from torch.utils._pytree import tree_leaves

import quickstudy as qs
from quickstudy.rl.recurrent.memory import MemoryNetwork
from quickstudy.runs.rebuild.spec import to_spec
from quickstudy.training.loop import NonFiniteLossError

LEARNERS = {  # a new learner that acts adds a line here
    "MAMLTRPO": lambda policy: qs.rl.MAMLTRPO(policy, lr=0.1),
    "MAMLVPG": lambda policy: qs.rl.MAMLVPG(policy, lr=0.1, estimator="dice"),
    "MAMLVPG, no steps": lambda policy: qs.rl.MAMLVPG(policy, steps=0),
    "MAMLVPG, SGD": lambda policy: qs.rl.MAMLVPG(policy, lr=torch.nn.Parameter(torch.tensor(0.1)), optimizer=momentum),
    "ProMP": lambda policy: qs.rl.ProMP(policy, lr=[0.1, 0.05], steps=2, outer_steps=2),
    "RL2": lambda policy: qs.rl.RL2(
        policy, MemoryNetwork(observations=2, actions=2, discrete=False, width=2), epochs=2, minibatches=2
    ),
    "PEARL": lambda policy: qs.rl.PEARL.of(
        qs.rl.Navigation2D(), hidden=[4], train_tasks=5, gradient_steps=2, meta_batch=3, batch=4, capacity=15
    ),
    "VariBAD": lambda policy: qs.rl.VariBAD.of(
        qs.rl.Navigation2D(), width=4, latent=2, hidden=[4], vae_steps=2, vae_trials=3, buffer=8, vae_beliefs=2
    ),
}


def momentum(params):
    return torch.optim.SGD(params, lr=0.1, momentum=0.9)


def learner(name="MAMLTRPO"):
    torch.manual_seed(0)
    return LEARNERS[name](qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2))


def fit(made, out, **options):
    environment = qs.rl.Navigation2D(num_envs=2, horizon=5)
    return qs.rl.fit(made, environment, **{"steps": 4, "tasks": 3, "out": out, "checkpoint_every": 2, **options})


class Stop(Exception):
    pass


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in found]


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_an_interrupted_run_ends_the_same(tmp_path, n, name):
    whole = learner(name)
    fit(whole, tmp_path / "whole")

    made = learner(name)
    update, calls = made.update, []

    def stopping(environment, *, generator):
        calls.append(1)
        if len(calls) > n:
            raise Stop
        return update(environment, generator=generator)

    made.update = stopping
    with pytest.raises(Stop):
        fit(made, tmp_path / "broken")
    again = learner(name)
    run = fit(again, tmp_path / "broken", exist="resume")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    if hasattr(whole, "optimizer"):
        slots = [tree_leaves(m.optimizer.state_dict()) for m in (whole, again)]
        assert any(isinstance(leaf, torch.Tensor) for leaf in slots[0])
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*slots, strict=True))
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    assert run.steps == 4 and fit(learner(name), tmp_path / "broken", exist="resume").steps == 4


@pytest.mark.parametrize("name", [name for name in LEARNERS if "SGD" not in name])
def test_a_saved_policy_is_loaded_and_acts(tmp_path, name):
    made = learner(name)
    fit(made, tmp_path / "run")
    loaded = qs.load(tmp_path / "run", which="last")
    assert to_spec(loaded) == to_spec(made)
    assert to_spec(loaded) == to_spec(made)
    environment = qs.rl.Navigation2D(num_envs=2, horizon=5)
    environment.set_tasks(environment.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
    found = []
    for m in (made, loaded):
        chance = torch.Generator().manual_seed(1)
        actor = m.actor()
        found.append(actor.adapt(actor.rollout(environment, generator=chance)).rollout(environment, generator=chance))
    assert torch.equal(found[0].reward, found[1].reward)
    made.update(environment, generator=torch.Generator().manual_seed(2))  # both go on
    loaded.update(environment, generator=torch.Generator().manual_seed(2))


def test_a_custom_optimiser_is_given_to_load(tmp_path):
    made, again = learner("MAMLVPG, SGD"), learner("MAMLVPG, SGD")
    fit(made, tmp_path / "run", steps=1)
    with pytest.raises(
        ValueError, match="was trained with a custom optimizer, which is not saved.* pass it as learner="
    ):
        qs.load(tmp_path / "run", which="last")
    assert qs.load(tmp_path / "run", which="last", learner=again) is again
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


def test_non_finite_values_stop_the_run_and_keep_its_checkpoint(tmp_path):
    made = learner()
    update = made.update

    def spoiling(environment, *, generator):
        told = update(environment, generator=generator)
        return told if len(list((tmp_path / "run").glob("metrics.jsonl"))) < 1 else {**told, "return_1": math.nan}

    made.update = spoiling
    with pytest.raises(NonFiniteLossError, match="return_1 is not finite after step 0 .seed 0."):
        fit(made, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last/state.json").exists()


class Ailing:
    """Navigation2D until its thirteenth step, when what `happens` is done to the step."""

    def __init__(self, happens):
        self.board, self.happens, self.steps = qs.rl.Navigation2D(num_envs=2, horizon=5), happens, 0

    def __repr__(self):
        return repr(self.board)

    def __getattr__(self, name):
        return getattr(self.board, name)

    def step(self, action):
        self.steps += 1
        step = self.board.step(action)
        return self.happens(step) if self.steps == 13 else step


def dies(step):
    raise qs.rl.EnvironmentFailure("Ailing, task 1, environment 0, step 2, seed 9: its simulator is gone")


def sees_nothing(step):
    step.observation[1, 0] = math.nan
    return step


def pays_nothing(step):
    step.reward[2, 1] = math.nan
    return step


@pytest.mark.parametrize(
    ("happens", "kind", "says"),
    [
        (dies, qs.rl.EnvironmentFailure, "Ailing, task 1, environment 0, step 2, seed 9: its simulator is gone"),
        (sees_nothing, ValueError, "the environment's observation is NaN in task 1, environment 0, step 3"),
        (pays_nothing, ValueError, "the environment's reward is NaN in task 2, environment 1, step 2"),
    ],
)
def test_a_run_can_be_resumed_after_an_environment_failed(tmp_path, happens, kind, says):
    whole, made, again = learner(), learner(), learner()
    fit(whole, tmp_path / "whole", checkpoint_every=1)
    options = {"steps": 4, "tasks": 3, "checkpoint_every": 1, "out": tmp_path / "run"}
    where = f"Ailing, in update 2 of seed 0; the last good checkpoint is {tmp_path / 'run/checkpoints/last'}"
    with pytest.raises(kind) as caught:
        qs.rl.fit(made, Ailing(happens), **options)
    assert says in str(caught.value) and where in str(caught.value) and "\n" not in str(caught.value)
    assert len(lines(tmp_path / "run")) == 1
    fit(again, tmp_path / "run", checkpoint_every=1, exist="resume")  # with a sound one
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": 0}, "steps=0"),
        ({"tasks": 0}, "tasks=0"),
        ({"seed": -1}, "seed=-1"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"exist": "yes"}, "exist='yes'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        fit(learner(), tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


def test_learners_and_environments_without_the_methods_are_refused(tmp_path):
    with pytest.raises(TypeError, match="no update"):
        fit(qs.MAML(qs.nets.MLP(1, [2], 1)), tmp_path / "run")
    with pytest.raises(TypeError, match="is not an environment"):
        qs.rl.fit(learner(), qs.tasks.Sinusoid(), steps=1, out=tmp_path / "run")
    with pytest.raises(FileExistsError, match="already"):
        fit(learner(), tmp_path / "twice", steps=1)
        fit(learner(), tmp_path / "twice", steps=1)


def test_updates_are_kept_when_the_validation_after_them_fails(tmp_path):
    whole, made, again = learner(), learner(), learner()
    fit(whole, tmp_path / "whole", checkpoint_every=100)
    practise = made.practise

    def failing(environment, *, generator):
        if len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 4:
            raise Stop
        return practise(environment, generator=generator)

    made.practise = failing
    with pytest.raises(Stop):
        fit(made, tmp_path / "run", checkpoint_every=100)
    calls = []
    again.update = lambda *args, **options: calls.append(1)
    fit(again, tmp_path / "run", checkpoint_every=100, exist="resume")
    assert not calls and lines(tmp_path / "run") == lines(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:the run is kept in memory")
def test_a_run_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = fit(learner(), None)
    assert run.path is None and run.steps == 4 and len(run.metrics) == 4 and list(tmp_path.iterdir()) == []
    fit(learner(), tmp_path / "run")
    assert [line["loss"] for line in run.metrics] == [line["loss"] for line in lines(tmp_path / "run")]
    with pytest.raises(
        qs.rl.EnvironmentFailure, match="nothing was saved .out=None.$|nothing was saved .out=None.\\)$"
    ):
        qs.rl.fit(learner(), Ailing(dies), steps=4, tasks=3)


def test_a_run_is_overwritten(tmp_path):
    fit(learner(), tmp_path / "run")
    assert fit(learner(), tmp_path / "run", steps=2, exist="overwrite").steps == 2 == len(lines(tmp_path / "run"))


def test_trains_where_the_environment_is(tmp_path):
    run = fit(learner(), tmp_path / "run")
    assert run.config["device"] == "cpu" == str(qs.rl.Navigation2D().device)
    assert str(qs.rl.Informed(qs.rl.Navigation2D(device="meta"), ("goal",)).device) == "meta"
    far = qs.rl.Navigation2D(num_envs=2, horizon=5, device="meta")
    with pytest.raises(ValueError, match="device 'cpu', and the environment is on 'meta'; build it with device='cpu'"):
        qs.rl.fit(learner(), far, steps=1, tasks=2, out=tmp_path / "far", device="cpu")


def noisy(kind):
    """A policy whose outputs are random, as `kind` says."""

    class Shakes(torch.nn.Module):
        def forward(self, x):
            return x + 0.3 * torch.randn_like(x)

    noise = {"dropout": torch.nn.Dropout(0.5), "noise": Shakes()}[kind]
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), noise, torch.nn.Linear(8, 2))
    return qs.rl.GaussianPolicy(network, 2, log_std=-2.0)


@pytest.mark.parametrize("kind", ["dropout", "noise"])
def test_updates_that_are_all_refused_are_noticed(tmp_path, kind):
    made = qs.rl.MAMLTRPO(noisy(kind), lr=0.1)
    with pytest.warns(RuntimeWarning, match="refused the last 5 updates: kl is .* the policy's outputs are random"):
        run = fit(made, tmp_path / "run", steps=7)
    refused = [line for line in run.metrics if not line["accepted"]]
    assert len(refused) >= 5 and all("the policy's outputs are random, as by dropout" in r["reason"] for r in refused)


def test_updates_that_lose_their_gradient_are_noticed(tmp_path):
    class Frozen:
        """Rewards of 0: every advantage is 0."""

        def __init__(self):
            self.board = qs.rl.Navigation2D(num_envs=2, horizon=5)

        def __getattr__(self, name):
            return getattr(self.board, name)

        def step(self, action):
            step = self.board.step(action)
            return step._replace(reward=torch.zeros_like(step.reward))

    with pytest.warns(RuntimeWarning, match="refused the last 5 updates: the gradient is 0"):
        run = qs.rl.fit(learner(), Frozen(), steps=5, tasks=2, out=tmp_path / "run")
    assert {line["reason"] for line in run.metrics} == {"the gradient is 0"}


def test_updates_that_are_accepted_say_so_and_nothing_warns(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = fit(learner(), tmp_path / "run", steps=6)
    accepted = [line for line in run.metrics if line["accepted"]]
    assert len(accepted) > 3 and {line["reason"] for line in accepted} == {"accepted"}
    assert qs.report.read_run(run.path).curves[""][0]["reason"]


@pytest.mark.parametrize("name", ["MAMLTRPO", "ProMP"])
def test_tensorboard_has_the_numbers(tmp_path, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(learner(name), tmp_path / "run")
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    for key, value in run.metrics[-1].items():
        if key in ("step", "reason"):
            assert key not in events.Tags()["scalars"]
        else:
            assert events.Scalars(key)[-1].value == pytest.approx(value, rel=1e-5)
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4]


def test_environment_steps_add_up_over_interruptions(tmp_path):
    made = learner()
    update, calls = made.update, []

    def stopping(environment, *, generator):
        calls.append(1)
        if len(calls) > 3:
            raise Stop
        return update(environment, generator=generator)

    made.update = stopping
    with pytest.raises(Stop):
        fit(made, tmp_path / "run")
    run = fit(learner(), tmp_path / "run", exist="resume")
    total = 0
    for line in run.metrics:
        total += line["transitions"]
        assert line["environment_steps"] == total and line["environment_steps_per_second"] > 0
    assert total == fit(learner(), tmp_path / "whole").metrics[-1]["environment_steps"]


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda n: {"goal": torch.zeros(n - 1, 2)}, r"returned goal of shape \[[12], 2\]"),
        (lambda n: {"goal": torch.zeros(5)}, r"returned goal of shape \[5\]"),
        (lambda n: [{"goal": (0.0, 0.0)}] * n, "sample_tasks returned a list"),
    ],
    ids=["fewer", "one", "a list"],
)
@pytest.mark.parametrize("count", [2, 3], ids=["at once", "in a step"])
def test_tasks_that_are_missing_are_named(tmp_path, draw, says, count):
    board = qs.rl.Navigation2D(num_envs=2, horizon=5)
    own = board.sample_tasks
    board.sample_tasks = lambda n, *, split="train", generator=None: (
        draw(n) if n == count else own(n, split=split, generator=generator)
    )
    with pytest.raises(ValueError, match=f"^Navigation2D.*{says}"):
        qs.rl.fit(learner(), board, steps=1, tasks=3, out=tmp_path / "run")
    assert (tmp_path / "run").exists() == (count == 3)


def test_validation_is_in_eval_mode(tmp_path):
    """Without dropout, as a policy is used after training; and what a baseline learned stays."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    judge = qs.rl.Judge(baseline=qs.rl.NetworkBaseline(qs.nets.MLP(2, [4], 1)))
    made, modes = qs.rl.MAMLVPG(qs.rl.GaussianPolicy(network, 2), judge=judge), []
    practise = made.practise

    def noting(environment, *, generator):
        modes.append((network[1].training, judge.baseline.training))
        return practise(environment, generator=generator)

    made.practise = noting
    fit(made, tmp_path / "run", steps=2)
    assert modes == [(True, True), (True, True), (False, False)] and made.training
