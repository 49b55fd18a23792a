"""The comparison of learners: equal budgets, tuning and measurement."""

import json
import math
from dataclasses import replace

import pytest
import torch
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.experiments.stage import Stage
from quickstudy.recipes.sinusoid.compare.families import FAMILIES
from quickstudy.recipes.sinusoid.compare.measuring import medians, steps_within
from quickstudy.recipes.sinusoid.compare.methods import METHODS
from quickstudy.recipes.sinusoid.compare.options import Options, check
from quickstudy.recipes.sinusoid.compare.recipe import run, usable
from quickstudy.recipes.sinusoid.compare.tuning import described, search, trial
from quickstudy.recipes.sinusoid.waves import best_count
from quickstudy.tasks import Sinusoid
from quickstudy.training.loop import NonFiniteLossError

SMALL = Options(width=8, trials=2, trial_steps=2, steps=2, tasks=2, support=(2, 3), query=3, shots=(2,), test_tasks=4)


LONG = ("imaml", "warp_grad", "bayesian_maml", "maml_plus_plus", "reptile")  # seconds each


@pytest.mark.parametrize("name", [pytest.param(m, marks=pytest.mark.slow) if m in LONG else m for m in METHODS])
def test_every_method_can_be_tuned(name):
    method = METHODS[name]
    found = search(method, lambda choice: trial(method, SMALL, Sinusoid(), choice), 1)
    assert set(found["choice"]) == set(method.space) and found["loss"] > 0
    torch.manual_seed(0)
    method.make(8, json.loads(json.dumps(found["choice"])))  # the settings survive JSON


def test_the_search_makes_the_given_number_of_trials_and_keeps_the_best():
    asked = []

    def judge(choice):
        asked.append(choice)
        return math.inf if len(asked) == 2 else abs(math.log(choice["lr"] / 2e-3))

    found = search(METHODS["pretrained"], judge, 12)
    assert len(asked) == 12 and found["trials"][1]["loss"] is None
    assert found["loss"] == min(t["loss"] for t in found["trials"] if t["loss"] is not None)
    again = []
    search(METHODS["pretrained"], lambda choice: again.append(choice) or 1.0, 3)
    assert again[0] == asked[0]  # the sampler has a seed


def test_a_learner_whose_trials_all_diverged_is_left_out_with_a_message():
    found = search(METHODS["pretrained"], lambda choice: math.inf, 2)
    assert found["choice"] is None and found["loss"] is None and len(found["trials"]) == 2
    assert described(found) == "all 2 trials diverged; left out"
    assert usable(SMALL, {m: {"choice": {}} for m in SMALL.methods} | {"maml": found})[0] == "fomaml"
    with pytest.raises(RuntimeError, match="every trial of every learner diverged"):
        usable(replace(SMALL, methods=("maml",)), {"maml": found})


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_compared_on(name):
    tasks = FAMILIES[name](noise=0.1).sample(1000, support=5, query=20, grid=True)
    assert tasks.query.x.shape[2] == tasks.query.y.shape[2] == 1
    assert 0.3 < tasks.query.y.std() < 5 and tasks.query.x.abs().max() < 11  # about as large as those of a wave


def test_if_the_best_settings_diverge_the_next_best_are_used(tmp_path, monkeypatch):
    trials = [
        {"choice": {"lr": lr, "inner_lr": 0.01, "steps": 1}, "loss": loss}
        for lr, loss in ((1e-3, 2.0), (2e-3, 1.0), (3e-3, None))
    ]
    found = {"maml": {"choice": trials[1]["choice"], "loss": 1.0, "trials": trials, "seconds": 1.0}}
    small, said = replace(SMALL, methods=("maml",), out=tmp_path, steps=30), running.Kept()
    stage = Stage("sinusoid-compare", small, "new", None, said)
    stage.keep("choices", found)
    whole, rates = stage.train, []

    def diverging(learner, family, **how):
        rates.append(how["lr"])
        trained = whole(learner, family, **how)
        if how["lr"] == 2e-3:
            raise NonFiniteLossError("", step=17, seed=0, checkpoint=tmp_path)
        return trained

    monkeypatch.setattr(stage, "train", diverging)
    metrics = run(small, stage)
    assert rates == [2e-3, 1e-3] and math.isfinite(metrics["maml/mse/k=2/steps=10"].mean)
    assert "MAML diverged at step 17 with settings 1 of 2" in said.lines
    assert json.loads((tmp_path / "facts.json").read_text())["maml"]["diverged"] == 1

    again, name = Stage("sinusoid-compare", small, "measure", None, running.Kept()), "maml/mse/k=2/steps=10"
    measured = run(small, again)
    assert again.seconds == 0 and measured.keys() == metrics.keys()
    assert measured[name].mean == metrics[name].mean
    on = Stage("sinusoid-compare", small, "resume", None, running.Kept())  # the settings that diverged are not repeated
    assert run(small, on)[name].mean == metrics[name].mean


def test_a_learner_that_diverges_with_all_its_settings_is_left_out(tmp_path, monkeypatch):
    trials = [{"choice": {"lr": 1e-3, "inner_lr": 0.01, "steps": 1}, "loss": 2.0}]
    found = {name: {**trials[0], "trials": trials, "seconds": 1.0} for name in ("maml", "fomaml")}
    small, said = replace(SMALL, methods=("maml", "fomaml"), out=tmp_path), running.Kept()
    stage = Stage("sinusoid-compare", small, "new", None, said)
    stage.keep("choices", found)
    whole = stage.train

    def diverging(learner, family, part, **how):
        if part == "maml":
            raise NonFiniteLossError("", step=17, seed=0, checkpoint=tmp_path)
        return whole(learner, family, part=part, **how)

    monkeypatch.setattr(stage, "train", diverging)
    assert {key.split("/")[0] for key in run(small, stage)} == {"fomaml"}
    assert "MAML diverged with all of its settings and is left out" in said.lines


def test_steps_are_chosen_on_validation_tasks():
    torch.manual_seed(0)
    networks = [qs.nets.MLP(1, [8], 1) for _ in range(2)]
    wild, tame = (qs.MAML(net, lr=lr, steps=3) for net, lr in zip(networks, (1.0, 0.01), strict=True))
    assert best_count(wild, Sinusoid(), 10) == 0  # every step makes it worse
    assert best_count(tame, Sinusoid(), 10) == 10


def test_seconds_become_steps():
    learner = METHODS["pretrained"].make(8, {})
    few, many = (steps_within(seconds, learner, Sinusoid(), SMALL) for seconds in (0.01, 100.0))
    assert 1 <= few < many


def test_seeds_share_tuned_settings(tmp_path):
    arguments = running.TINY["sinusoid-compare"]
    assert (
        main(
            [
                "run",
                "sinusoid-compare",
                *arguments,
                "--seeds",
                "0",
                "1",
                "--parallel",
                "1",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert (tmp_path / "run/choices.json").exists() and not (tmp_path / "run/seed-0/choices.json").exists()
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["maml/mse/k=3/steps=10"]["n"] == 2
    assert "pretrained/tuned_mse/k=2" in result["metrics"] and "cnp/log_likelihood/k=2" in result["metrics"]
    facts = json.loads((tmp_path / "run/facts.json").read_text())
    assert facts["maml"]["parameters"] == 8 * 2 + 8 * 9 + 9 and facts["cnp"]["adapt_ms"] > 0
    assert (tmp_path / "run/figures/errors.png").exists()


def test_medians_are_of_each_fact():
    found = [{"a": {"x": 1.0}, "b": {"x": 0.0}}, {"a": {"x": 5.0}}, {"a": {"x": 2.0}}]
    assert medians(found) == {"a": {"x": 2.0}}  # b diverged for some seeds


def test_invalid_options():
    for change, says in (
        ({"methods": ("mamml",)}, "--methods mamml: choose from maml"),
        ({"trials": 0}, "--trials 0"),
        ({"seconds": -1.0}, "--seconds -1"),
    ):
        with pytest.raises(ValueError, match=says):
            check(replace(SMALL, **change))
