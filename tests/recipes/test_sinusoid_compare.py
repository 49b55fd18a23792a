"""The comparison of learners: equal budgets, tuned alike, measured alike."""

import json
import math
from dataclasses import replace

import pytest
import torch
from recipes import running

from quickstudy.cli import main
from quickstudy.recipes.contenders import CONTENDERS
from quickstudy.recipes.sinusoid_compare import Options, check, medians, steps_within
from quickstudy.recipes.tuned import search, trial
from quickstudy.tasks import Sinusoid

SMALL = Options(width=8, trials=2, trial_steps=2, steps=2, tasks=2, support=(2, 3), query=3, shots=(2,), test_tasks=4)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_can_be_tuned(name):
    contender = CONTENDERS[name]
    found = search(contender, lambda choice: trial(contender, SMALL, Sinusoid(), choice), 1)
    assert set(found["choice"]) == set(contender.space) and found["loss"] > 0
    torch.manual_seed(0)
    contender.make(8, json.loads(json.dumps(found["choice"])))  # as it is read from the file


def test_the_search_asks_as_often_as_it_is_told_and_keeps_the_best():
    asked = []

    def judge(choice):
        asked.append(choice)
        return math.inf if len(asked) == 2 else abs(math.log(choice["lr"] / 2e-3))

    found = search(CONTENDERS["pretrained"], judge, 12)
    assert len(asked) == 12 and found["trials"][1]["loss"] is None
    assert found["loss"] == min(t["loss"] for t in found["trials"] if t["loss"] is not None)
    again = []
    search(CONTENDERS["pretrained"], lambda choice: again.append(choice) or 1.0, 3)
    assert again[0] == asked[0]  # the sampler has a seed
    with pytest.raises(RuntimeError, match="all 2 trials diverged"):
        search(CONTENDERS["pretrained"], lambda choice: math.inf, 2)


def test_seconds_become_steps():
    learner = CONTENDERS["pretrained"].make(8, {})
    few, many = (steps_within(seconds, learner, Sinusoid(), SMALL) for seconds in (0.01, 100.0))
    assert 1 <= few < many


def test_seeds_share_what_was_tuned(tmp_path):
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
    assert medians([{"a": {"x": 1.0}}, {"a": {"x": 5.0}}, {"a": {"x": 2.0}}]) == {"a": {"x": 2.0}}


def test_bad_options_are_refused():
    for change, says in (
        ({"methods": ("mamml",)}, "--methods mamml: choose from maml"),
        ({"trials": 0}, "--trials 0"),
        ({"seconds": -1.0}, "--seconds -1"),
    ):
        with pytest.raises(ValueError, match=says):
            check(replace(SMALL, **change))
