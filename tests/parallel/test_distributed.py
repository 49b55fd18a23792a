"""Two processes train as one: the same weights in both, and what one has done alone; an accident is everybody's."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from parallel import elastic, ranks
from training.workload import train

from quickstudy.parallel import distributed
from quickstudy.parallel.distributed import World, find_world, is_restart, job
from quickstudy.runs.checkpoint import read_checkpoint
from quickstudy.runs.metrics_file import TIME_FIELDS
from quickstudy.runs.run import LAST

KINDS = ("gradient", "process", "stateful")
FEW = {"steps": 12, "tasks": 5}


def environment() -> dict[str, str]:
    """This one, in which the tests' own modules are found."""
    paths = (str(Path(ranks.__file__).parents[1]), os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def together(folder: Path, orders: dict[str, dict[str, Any]], ends: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Go through the orders in two processes; how each training ended, by name and rank."""
    listed = [{"out": str(folder / name), **order} for name, order in orders.items()]
    script = [sys.executable, ranks.__file__, "2", json.dumps(listed)]
    answer = subprocess.run(script, capture_output=True, text=True, timeout=600, check=False, env=environment())
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == [0, -ends], answer.stderr
    found = {name: [folder / f"{name}.{rank}.json" for rank in range(2)] for name in orders}
    return {name: [json.loads(p.read_text()) for p in paths if p.exists()] for name, paths in found.items()}


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    return read_checkpoint(run / LAST).weights


def untimed(line: dict[str, float]) -> dict[str, float]:
    """A line of metrics without the fields that tell time."""
    return {k: v for k, v in line.items() if k not in TIME_FIELDS}


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest distance of two weights."""
    return max((a[k].double() - b[k].double()).abs().max().item() for k in a)


ORDERS: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind, **FEW} for kind in KINDS},
    "taken": {"kind": "gradient", "steps": 2},
    "told": {"kind": "process", "fault": [1, 9, "term"], **FEW},
    "accident": {"kind": "gradient", "fault": [1, 9, "error"], **FEW},
    "early accident": {"kind": "gradient", "fault": [1, 1, "error"], **FEW},
    "unlike": {"kind": "gradient", "of_rank": {"1": {"lr": 0.5}}, **FEW},
    "too many": {"kind": "gradient", "steps": 2, "accumulate": 3},
    "bad": {"kind": "gradient", "steps": 0},
    "overshooting": {"kind": "gradient", "lr": 1e20, "clip": None, **FEW},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs are."""
    folder = tmp_path_factory.mktemp("together")
    train("gradient", folder / "taken", steps=2)
    return folder


@pytest.fixture(scope="module")
def endings(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """How they ended."""
    return together(folder, ORDERS)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_end_as_one(folder: Path, endings: dict[str, Any], tmp_path: Path, kind: str) -> None:
    assert endings[kind][0] == endings[kind][1]  # weights and buffers to the bit, best step, lines of metrics
    slices = train(kind, tmp_path / "slices", accumulate=2, **FEW)
    assert apart(weights(folder / kind), weights(slices.path)) == 0
    if kind != "stateful":  # it has dropout, whose masks are a slice's own
        assert apart(weights(folder / kind), weights(train(kind, tmp_path / "alone", **FEW).path)) < 1e-6
    config, lines = (json.loads((folder / kind / "config.json").read_text()), slices.metrics)
    assert (config["processes"], config["accumulate"], config["device"]) == (2, 1, "cpu")
    told = [json.loads(line) for line in (folder / kind / "metrics.jsonl").read_text().splitlines()]
    for ours, theirs in zip(told, lines, strict=True):
        assert untimed(ours) == pytest.approx(untimed(theirs), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("taken", "FileExistsError: there is a run in .* already; continue it by exist='resume'"),
        ("told", "SystemExit: 143"),
        ("accident", "RuntimeError: this process had an accident"),
        ("early accident", "RuntimeError: this process had an accident"),
        ("unlike", "ValueError: process 1 and process 0 have different arguments: lr was 0.001 and is now 0.5; start"),
        (
            "too many",
            "ValueError: tasks=4 cannot be divided among 2 processes with accumulate=3; expected at least 6 tasks",
        ),
        ("bad", "ValueError: steps=0"),
        ("overshooting", r"NonFiniteLossError: .* at step \d+ \(seed 0\); the last good checkpoint"),
    ],
)
def test_all_processes_end_with_the_same_message(endings: dict[str, Any], name: str, error: str) -> None:
    first, second = endings[name]
    assert first == second
    assert re.match(error, first["error"]), first


def test_a_signal_to_one_process_saves_one_checkpoint_from_which_one_process_goes_on(
    folder: Path, endings: dict[str, Any], tmp_path: Path
) -> None:
    assert endings["told"][0] == {"error": "SystemExit: 143"}
    out = shutil.copytree(folder / "told", tmp_path / "run")
    standing = read_checkpoint(out / LAST).facts["standing"]
    assert standing["step"] == 8  # the first call only looks
    train("process", out, exist="resume", **FEW)
    assert apart(weights(out), weights(folder / "process")) < 1e-6


@pytest.mark.slow
def test_the_bar_of_200_steps(tmp_path: Path) -> None:
    """Weights equal to 1e-5 in single precision, the same batches dealt to one process and to two."""
    long = {"steps": 200, "tasks": 7, "checkpoint_every": 50, "evaluate_every": 50}
    found = together(tmp_path, {kind: {"kind": kind, **long} for kind in ("gradient", "process")})
    for kind, endings in found.items():
        assert endings[0] == endings[1]
        alone = train(kind, tmp_path / f"{kind} alone", **long)
        assert apart(weights(tmp_path / kind), weights(alone.path)) < 1e-5


@pytest.mark.slow
def test_a_killed_process_is_told_of(tmp_path: Path) -> None:
    found = together(tmp_path, {"run": {"kind": "gradient", "fault": [1, 9, "kill"], **FEW}}, ends=signal.SIGKILL)
    assert found["run"][0]["error"].startswith("LostProcessError: another process of this training is gone")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gradient", "process"])
def test_torchrun_restarts_a_killed_process_and_training_goes_on(tmp_path: Path, kind: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    answer = subprocess.run(
        [*torchrun, "--max-restarts", "1", elastic.__file__, kind, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment(),
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "run.starts").read_text() == "01"
    undisturbed = together(tmp_path, {"undisturbed": {"kind": kind, "tasks": 5}})["undisturbed"]
    assert undisturbed[0] == undisturbed[1]
    assert apart(weights(tmp_path / "run"), weights(tmp_path / "undisturbed")) == 0
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("run", "undisturbed")]
    told = [[untimed(json.loads(line)) for line in each] for each in lines]
    assert told[0] == told[1]


@pytest.mark.slow
def test_a_recipe_on_the_command_line(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    recipe = [
        "quickstudy.cli",
        "run",
        "sinusoid-maml",
        "--steps",
        "30",
        "--test-tasks",
        "20",
        "--device",
        "cpu",
        "--out",
    ]
    results = []
    for name, command in (("two", torchrun), ("one", [sys.executable, "-m"])):
        out = str(tmp_path / name)
        answer = subprocess.run([*command, *recipe, out], capture_output=True, text=True, timeout=900, check=False)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.count("figures:") == 1
        results.append(json.loads((tmp_path / name / "result.json").read_text())["metrics"])
    assert results[0].keys() == results[1].keys()
    for metric, value in results[0].items():
        assert value["mean"] == pytest.approx(results[1][metric]["mean"], rel=1e-3)


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    world = find_world()
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert world.each(lambda: 3) == [3] and world.once(lambda: 4) == world.together(lambda: 4) == 4
    assert not torch.distributed.is_initialized()
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert find_world().size == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("size", "told"), [("2", "WORLD_SIZE=2 without RANK.* start the script by torchrun"), ("two", "WORLD_SIZE='two'")]
)
def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch, size: str, told: str) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ValueError, match=told):
        find_world()


def test_only_the_job_that_began_a_run_goes_on_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert job() is None and not is_restart({"job": None})
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a name")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    run = train("gradient", tmp_path / "run", steps=2)
    assert run.config["job"] == "a name"
    with pytest.raises(FileExistsError):
        train("gradient", tmp_path / "run", steps=2)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert train("gradient", tmp_path / "run", steps=2).seconds == run.seconds
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    with pytest.raises(FileExistsError):
        train("gradient", tmp_path / "run", steps=2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert job() == f"agent {os.getppid()}"


def test_an_error_that_cannot_be_sent_is_told_all_the_same() -> None:
    class Local(Exception):
        """Cannot be pickled."""

    assert str(distributed.portable(Local("lost"))) == "Local: lost"
    error = ValueError("kept")
    assert distributed.portable(error) is error and distributed.portable(None) is None


def test_gpus_are_not_named_where_each_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="each of which uses its own GPU; use device='cuda'"):
        World(0, 2, 0).pick("cuda:0")
    with pytest.raises(ValueError, match="process 1 needs GPU number 1 of its machine, where torch sees 1 GPUs"):
        World(1, 2, 1).pick("cuda")
    assert World(1, 2, 1).pick("cpu").type == "cpu"
