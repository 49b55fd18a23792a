"""Runs of what acts: the same whether or not they were interrupted; refused before anything is written."""

import json
import math

import pytest
import torch

import quickstudy as qs
from quickstudy.training.loop import NonFiniteLossError


def learner():
    torch.manual_seed(0)
    return qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2), lr=0.1)


def fit(made, out, **options):
    environment = qs.rl.Navigation2D(num_envs=2, horizon=5)
    return qs.rl.fit(made, environment, **{"steps": 4, "tasks": 3, "out": out, "checkpoint_every": 2, **options})


class Stop(Exception):
    pass


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in found]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_an_interrupted_run_ends_the_same(tmp_path, n):
    whole = learner()
    fit(whole, tmp_path / "whole")

    made = learner()
    update, calls = made.update, []

    def stopping(environment, *, generator):
        calls.append(1)
        if len(calls) > n:
            raise Stop
        return update(environment, generator=generator)

    made.update = stopping
    with pytest.raises(Stop):
        fit(made, tmp_path / "broken")
    again = learner()
    run = fit(again, tmp_path / "broken", exist="resume")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    assert run.steps == 4 and fit(learner(), tmp_path / "broken", exist="resume").steps == 4


def test_a_saved_policy_is_loaded_and_acts(tmp_path):
    made = learner()
    fit(made, tmp_path / "run")
    loaded = qs.load(tmp_path / "run", which="last")
    assert isinstance(loaded, qs.rl.MAMLTRPO) and loaded.config()["judge"].discount == 0.99
    environment = qs.rl.Navigation2D(num_envs=2, horizon=5)
    environment.set_tasks(environment.sample_tasks(3, generator=torch.Generator().manual_seed(0)))
    found = [m.actor().rollout(environment, generator=torch.Generator().manual_seed(1)).reward for m in (made, loaded)]
    assert torch.equal(*found)


def test_what_is_not_finite_stops_the_run_and_leaves_its_checkpoint(tmp_path):
    made = learner()
    update = made.update

    def spoiling(environment, *, generator):
        told = update(environment, generator=generator)
        return told if len(list((tmp_path / "run").glob("metrics.jsonl"))) < 1 else {**told, "return_1": math.nan}

    made.update = spoiling
    with pytest.raises(NonFiniteLossError, match="return_1 is not finite after step 0 .seed 0."):
        fit(made, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last/state.json").exists()


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


def test_what_cannot_act_or_be_acted_in_is_refused(tmp_path):
    with pytest.raises(TypeError, match="no update"):
        fit(qs.MAML(qs.nets.MLP(1, [2], 1)), tmp_path / "run")
    with pytest.raises(TypeError, match="no environment"):
        qs.rl.fit(learner(), qs.tasks.Sinusoid(), steps=1, out=tmp_path / "run")
    with pytest.raises(FileExistsError, match="already"):
        fit(learner(), tmp_path / "twice", steps=1)
        fit(learner(), tmp_path / "twice", steps=1)
