"""How a run was made, in words."""

import json
from pathlib import Path
from typing import Any

from quickstudy.report.provenance import described, facts
from quickstudy.report.runs import read_run

MAML = {"class": "MAML", "network": {"class": "MLP", "hidden": [40, 40]}, "lr": 0.01, "steps": 1, "loss": None}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    """A JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_learners_read_as_one_writes_them() -> None:
    assert described(MAML) == "MAML(network=MLP(hidden=[40, 40]), lr=0.01, steps=1)"
    rates = {"class": "Rates", "network": {f"layers.{i}.weight": [40, 40] for i in range(9)}, "learn": True}
    assert described({"class": "SGD", "lr": rates}) == "SGD(lr=Rates(network={9 entries}, learn=True))"


def test_a_run_of_one_learner(tmp_path: Path) -> None:
    config = {"recipe": "sinusoid-maml", "learner": MAML, "family": "Sinusoid()", "tasks": 25, "lr": 1e-3, "seed": 3}
    config |= {"options": {"steps": 5, "seed": 3, "shots": [5, 10]}, "command": "quickstudy run sinusoid-maml"}
    write(tmp_path, "config.json", config | {"quickstudy": "1", "torch": "2", "python": "3"})
    write(tmp_path, "result.json", {"steps": 5, "seconds": 12.34, "commit": "abc", "hardware": "2 cores", "seed": 3})
    assert facts(read_run(tmp_path)) == {
        "recipe": "sinusoid-maml",
        "learner": "MAML(network=MLP(hidden=[40, 40]), lr=0.01, steps=1)",
        "task family": "Sinusoid()",
        "training": "tasks=25, lr=0.001",
        "options": "shots=[5, 10]",
        "command": "quickstudy run sinusoid-maml",
        "seed": "3",
        "meta-training steps": "5",
        "seconds of training": "12.3",
        "hardware": "2 cores",
        "commit": "abc",
        "versions": "quickstudy 1, torch 2, python 3",
    }


def test_parts_that_agree_share_a_line(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"recipe": "demo", "options": {}, "command": ["quickstudy", "demo", "--out", "a b"]})
    for part, learner, rate in (("maml", MAML, 0.1), ("np", {"class": "NeuralProcess"}, 0.2), ("cnp", MAML, 0.2)):
        write(tmp_path / part, "config.json", {"learner": learner, "family": "Sinusoid()", "lr": rate})
    found = facts(read_run(tmp_path))
    assert found["learner of CNP, MAML"].startswith("MAML(")
    assert found["learner of Neural Process"] == "NeuralProcess()"
    assert found["task family"] == "Sinusoid()"
    assert (found["training of MAML"], found["training of CNP, Neural Process"]) == ("lr=0.1", "lr=0.2")
    assert found["command"] == "quickstudy demo --out 'a b'"


def test_of_several_seeds_one_speaks_for_all(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"recipe": "demo", "options": {"seeds": [2, 10]}})
    write(tmp_path, "result.json", {"seed": [2, 10], "seconds": 7.25})
    for seed in (2, 10):
        for part in ("maml", "np"):
            write(tmp_path / f"seed-{seed}" / part, "config.json", {"learner": {"class": part}, "family": "F()"})
    run = read_run(tmp_path)
    assert list(run.parts) == ["seed-2, maml", "seed-2, np", "seed-10, maml", "seed-10, np"]
    assert facts(run) == {
        **{"recipe": "demo", "learner of MAML": "maml()", "learner of Neural Process": "np()"},
        **{"task family": "F()", "seed": "2 10", "seconds of training, sum over 2 seeds": "7.2"},
    }
