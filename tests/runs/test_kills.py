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


def inject(orders: Mapping[str, Any], folder: Path) -> Counter[tuple[str, str]]:
    """Run `kills.py` with these orders, and check each run as soon as it ends: it must equal the undisturbed one.

    Returns:
        The number of kills by workload and kind.
    """
    tests = str(Path(kills.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    command = [sys.executable, kills.__file__, str(folder), json.dumps(orders)]
    counted: Counter[tuple[str, str]] = Counter()
    with (
        open(folder / "stderr", "w") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as harness,
    ):
        assert harness.stdout is not None
        try:
            for line in harness.stdout:
                run = json.loads(line)
                assert run["code"] == 0 and run["differ"] == [] and run["died"] >= 1, run
                counted.update((run["work"], kind) for kind, *_ in run["kills"][: run["died"]])
        except BaseException:
            harness.kill()
            raise
    assert harness.returncode == 0, (folder / "stderr").read_text()
    return counted


def test_runs_that_were_once_lost(tmp_path: Path) -> None:
    assert inject(ONCE_LOST, tmp_path).total() >= 12


@pytest.mark.slow
@pytest.mark.parametrize("work", kills.WORKLOADS)
def test_random_kills(work: str, tmp_path: Path) -> None:
    """Over all workloads, 320 runs are killed once and 230 twice."""
    counted = inject({work: LONG[work]}, tmp_path)
    print(json.dumps({kind: count for (_, kind), count in sorted(counted.items())}))
    assert counted.total() >= LONG[work]["singles"] + LONG[work]["pairs"]


@pytest.mark.slow
def test_every_kind_of_operation_is_among_the_kills(tmp_path: Path) -> None:
    places = {kind for work in ("overwrite", "parts") for kind, _ in kills.undisturbed(work, tmp_path / work)[1]}
    assert places == set(KINDS)
