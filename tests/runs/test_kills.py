"""A run that is killed at any of its file operations, once or twice, and resumed ends as an undisturbed one."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from runs import kills
from runs.faults import KINDS

ONCE_LOST = {  # these did not end equal once
    "fit": [
        [["torn", 6, 0], ["unlink", 1, 0], ["unlink", 5, 0]],  # twice before the first checkpoint after step 0
        [["mkdir", 6, 0], ["write", 5, 0], ["unlink", 2, 0]],
        [["rename", 22, 0]],  # in the very last replacement of a checkpoint
        [["rename", 23, 0], ["rename", 2, 0]],
        [["unlink", 16, 0], ["write", 7, 0]],
    ],
    "rl.fit": [
        [["torn", 7, 0], ["unlink", 2, 0]],
        [["open", 5, 0], ["write", 5, 0], ["write", 5, 0]],
        [["rename", 15, 0], ["flush", 21, 0]],
    ],
}
LONG = {
    "fit": {"singles": 70, "pairs": 50, "seed": 0},
    "rl.fit": {"singles": 50, "pairs": 40, "seed": 0},
    "extend": {"singles": 40, "pairs": 30, "seed": 0},
    "overwrite": {"singles": 40, "pairs": 30, "seed": 0},
    "resume": {"singles": 30, "pairs": 20, "seed": 0},
    "parts": {"singles": 40, "pairs": 30, "seed": 0},
    "seeds": {"singles": 50, "pairs": 30, "seed": 0},
}


def inject(orders: Mapping[str, Any], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run `kills.py` with these orders; returns the outcome of every run."""
    tests = str(Path(kills.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    command = [sys.executable, kills.__file__, str(folder), json.dumps(orders)]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(answer.stdout)
    return found


def check(found: dict[str, list[dict[str, Any]]]) -> Counter[tuple[str, str]]:
    """Check that every run ended as the undisturbed one; returns the number of kills by workload and kind."""
    counted: Counter[tuple[str, str]] = Counter()
    for work, runs in found.items():
        for run in runs:
            message = f"{work} {run}"
            assert run["code"] == 0 and run["differ"] == [], message
            assert run["died"] >= 1, message
            counted.update((work, kind) for kind, *_ in run["kills"][: run["died"]])
    return counted


def test_runs_that_were_once_lost(tmp_path: Path) -> None:
    counted = check(inject(ONCE_LOST, tmp_path))
    assert counted.total() >= 12


@pytest.mark.slow
def test_random_kills(tmp_path: Path) -> None:
    counted = check(inject(LONG, tmp_path))
    print(json.dumps({f"{work} {kind}": count for (work, kind), count in sorted(counted.items())}))
    assert counted.total() >= 300
    assert {kind for _, kind in counted} == set(KINDS)
    assert {work for work, _ in counted} == set(kills.WORKLOADS)
