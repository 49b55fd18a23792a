"""Extending a finished run: what continues, what restarts, and which calls raise an error."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training.workload import Waves, make

import quickstudy as qs
from quickstudy.runs.run import read_config, read_result

SMALL: dict[str, Any] = {"tasks": 2, "validation_tasks": 2, "support": 2, "query": 2, "compile": False}


class Stop(Exception):
    pass


def fit(out: Path, steps: int, kind: str = "gradient", stop: int | None = None, **options: Any) -> Any:
    """A run that raises Stop as it draws its batch number `stop` (the first one is drawn before training)."""
    calls: list[int] = []

    def hook() -> None:
        calls.append(1)
        if len(calls) == stop:
            raise Stop

    settings = {**SMALL, "log_every": 1, "checkpoint_every": 2, "evaluate_every": 5, **options}
    return qs.fit(make(kind), Waves(hook), steps=steps, out=out, **settings)


def weights(out: Path) -> bytes:
    return (out / "checkpoints/last/model.safetensors").read_bytes()


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "second" not in k} for line in found]


def test_a_run_of_constant_rate_that_is_extended_is_the_longer_run(tmp_path: Path) -> None:
    fit(tmp_path / "short", 10)
    run = fit(tmp_path / "short", 20, exist="extend")
    fit(tmp_path / "long", 20)
    assert run.steps == 20 == read_result(tmp_path / "short")["steps"] and len(run.metrics) == 20
    assert weights(tmp_path / "short") == weights(tmp_path / "long")
    assert lines(tmp_path / "short") == lines(tmp_path / "long")
    assert run.config["steps"] == 20
    assert run.config["extended"] == [{"from_step": 10, "steps_before": 10, "steps": 20}]
    assert fit(tmp_path / "short", 20, exist="resume").steps == 20
    assert [entry["from_step"] for entry in fit(tmp_path / "short", 23, exist="extend").config["extended"]] == [10, 20]
    assert fit(tmp_path / "short", 23, exist="resume").config == read_config(tmp_path / "short")


def test_a_named_schedule_restarts_and_a_schedule_function_continues(tmp_path: Path) -> None:
    for name, schedule in (("cosine", "cosine"), ("own", lambda step: 1 / (step + 1))):
        fit(tmp_path / name, 6, schedule=schedule, lr=1.0)
        fit(tmp_path / name, 9, schedule=schedule, lr=1.0, exist="extend")
    assert [line["lr"] for line in lines(tmp_path / "own")] == pytest.approx([1 / (step + 1) for step in range(9)])
    rates = [line["lr"] for line in lines(tmp_path / "cosine")]
    assert rates[6:] == pytest.approx([1.0, 0.75, 0.25]) and rates[5] < 0.1


@pytest.mark.parametrize("stop", [2, 3, 6])  # before the first added step, after it, and after a checkpoint
@pytest.mark.parametrize("exist", ["extend", "resume"])
def test_an_interrupted_extension_is_resumed(tmp_path: Path, stop: int, exist: str) -> None:
    options: dict[str, Any] = {"schedule": "cosine", "patience": 100}
    for name in ("whole", "broken"):
        fit(tmp_path / name, 10, **options)
    fit(tmp_path / "whole", 20, exist="extend", **options)
    with pytest.raises(Stop):
        fit(tmp_path / "broken", 20, stop=stop, exist="extend", **options)
    assert not (tmp_path / "broken/result.json").exists()  # that of the shorter run says nothing of this one
    fit(tmp_path / "broken", 20, exist=exist, **options)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    results = [read_result(tmp_path / name) for name in ("whole", "broken")]
    assert results[0]["metrics"] == results[1]["metrics"] and results[0]["steps"] == 20


def test_intervals_stay_what_they_were(tmp_path: Path) -> None:
    open_ones: dict[str, Any] = {"log_every": None, "checkpoint_every": None, "evaluate_every": None}
    fit(tmp_path / "run", 40, **open_ones)
    config = fit(tmp_path / "run", 60, exist="extend", **open_ones).config
    assert (config["evaluate_every"], config["checkpoint_every"], config["log_every"]) == (2, 4, 1)
    assert fit(tmp_path / "run", 60, exist="resume", **open_ones).steps == 60
    with pytest.raises(ValueError, match="evaluate_every was 2 and is now 3"):
        fit(tmp_path / "run", 80, exist="extend", **{**open_ones, "evaluate_every": 3})


def test_a_run_that_stopped_early_is_extended_from_there(tmp_path: Path) -> None:
    stopping: dict[str, Any] = {"patience": 1, "evaluate_every": 1, "lr": 10.0}
    early = fit(tmp_path / "run", 30, **stopping)
    assert early.steps < 30
    with pytest.raises(ValueError, match=f"steps={early.steps} does not extend the run"):
        fit(tmp_path / "run", early.steps, exist="extend", **{**stopping})
    run = fit(tmp_path / "run", 30, exist="extend", **stopping)
    assert run.steps > early.steps
    assert run.config["extended"] == [{"from_step": early.steps, "steps_before": 30, "steps": 30}]


def test_an_annealed_learner_keeps_its_last_state(tmp_path: Path) -> None:
    def learner() -> Any:
        torch.manual_seed(0)
        made = qs.MAMLPlusPlus(qs.nets.MLP(1, [4], 1), steps=2)
        made.progress_seen = []
        anneal = made.anneal
        made.anneal = lambda progress: (made.progress_seen.append(progress), anneal(progress))
        return made

    options: dict[str, Any] = {**SMALL, "out": tmp_path / "run"}
    qs.fit(learner(), Waves(), steps=4, **options)
    longer = learner()
    qs.fit(longer, Waves(), steps=6, exist="extend", **options)
    assert longer.progress_seen == [1.0, 1.0]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (10, "steps=10 does not extend the run in .*, which has 10 steps; steps counts all .* give more than 10"),
        (7, "steps=7 does not extend the run in .*, which has 10 steps"),
    ],
)
def test_extending_by_nothing_is_refused(tmp_path: Path, steps: int, says: str) -> None:
    fit(tmp_path / "run", 10)
    before = read_config(tmp_path / "run"), weights(tmp_path / "run")
    with pytest.raises(ValueError, match=says) as caught:
        fit(tmp_path / "run", steps, exist="extend")
    assert "\n" not in str(caught.value)
    assert (read_config(tmp_path / "run"), weights(tmp_path / "run")) == before


def test_a_run_that_is_not_finished_is_not_extended(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        fit(tmp_path / "run", 10, stop=7)
    with pytest.raises(
        ValueError, match=r"is not finished \(step 4 of 10\).* finish it first, by steps=10, exist='res"
    ):
        fit(tmp_path / "run", 20, exist="extend")
    with pytest.raises(ValueError, match="no run in .*none to extend; leave exist= out"):
        fit(tmp_path / "none", 20, exist="extend")
    assert not (tmp_path / "none").exists()
    fit(tmp_path / "run", 10, exist="resume")
    with pytest.raises(Stop):
        fit(tmp_path / "run", 20, exist="extend", stop=7)
    with pytest.raises(ValueError, match=r"not finished \(step 14 of 20\)"):
        fit(tmp_path / "run", 30, exist="extend")


def test_another_run_is_not_extended(tmp_path: Path) -> None:
    fit(tmp_path / "run", 10, recipe="waves")
    with pytest.raises(ValueError, match="lr was 0.001 and is now 0.1"):
        fit(tmp_path / "run", 20, exist="extend", recipe="waves", lr=0.1)
    with pytest.raises(ValueError, match="is a run of the recipe waves, which fixes its number of steps"):
        fit(tmp_path / "run", 20, exist="extend")
    fit(tmp_path / "run/part", 10)
    with pytest.raises(ValueError, match="is a part of the run .*run, which fixes its number of steps"):
        fit(tmp_path / "run/part", 20, exist="extend")


@pytest.mark.parametrize("entries", [3, [3], [{}], [{"from_step": -1, "steps_before": 1, "steps": 1}], {"a": 1}])
def test_a_config_with_damaged_extensions_is_one_line(tmp_path: Path, entries: Any) -> None:
    fit(tmp_path / "run", 2)
    config = read_config(tmp_path / "run")
    (tmp_path / "run/config.json").write_text(json.dumps({**config, "extended": entries}))
    for exist in ("resume", "extend"):
        with pytest.raises(RuntimeError, match=r"config\.json is damaged: it has extended=") as caught:
            fit(tmp_path / "run", 4, exist=exist)
        assert "\n" not in str(caught.value)


def test_a_run_of_rl_fit_is_extended(tmp_path: Path) -> None:
    def go(out: str, steps: int, **options: Any) -> Any:
        torch.manual_seed(0)
        made = qs.rl.MAMLTRPO(qs.rl.GaussianPolicy(qs.nets.MLP(2, [4], 2), 2), lr=0.1)
        board = qs.rl.Navigation2D(num_envs=2, horizon=5)
        return qs.rl.fit(made, board, steps=steps, tasks=2, out=tmp_path / out, **options)

    go("short", 2)
    run = go("short", 3, exist="extend")
    go("long", 3)
    assert weights(tmp_path / "short") == weights(tmp_path / "long") and lines(tmp_path / "short") == lines(
        tmp_path / "long"
    )
    assert run.steps == 3 == read_result(run.path)["steps"]
