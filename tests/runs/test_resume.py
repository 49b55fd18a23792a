"""A run that is killed at any point and resumed ends as an undisturbed one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training import workload
from training.workload import EVERY, STEPS, Waves, make, train

import quickstudy as qs
from quickstudy.runs.run import read_config

TIMED = {"seconds", "steps_per_second", "environment_steps_per_second"}


def outcome(run: Path) -> dict[str, Any]:
    """Everything that must be bit-identical: the bytes of all tensors, and the metrics but for their time fields."""
    assert set(read_config(run)["time_fields"]) == TIMED
    found: dict[str, Any] = {}
    for name in ("last", "best"):
        folder = run / "checkpoints" / name
        for part in ("model", "training"):
            found[f"{name}/{part}"] = (folder / f"{part}.safetensors").read_bytes()
        standing = json.loads((folder / "state.json").read_text())["standing"]
        found[f"{name}/standing"] = {k: v for k, v in standing.items() if k not in ("seconds", "metrics_bytes")}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in line.items() if k not in TIMED} for line in lines]
    found["result"] = json.loads((run / "result.json").read_text())["metrics"]
    return found


def kill(orders: dict[str, dict[str, Any]], folder: Path) -> None:
    """Run the trainings in `folder`, side by side in one Python; each must end by SIGKILL."""
    listed = [{"out": str(folder / name), **order} for name, order in orders.items()]
    script = [sys.executable, workload.__file__, json.dumps(listed)]
    answer = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [-signal.SIGKILL] * len(orders)


KINDS = ("gradient", "process", "stateful")
SHORT = {"steps": 10, "checkpoint_every": 4, "evaluate_every": 5}
chance = random.Random(0)
AT_STEPS = {  # five random steps past the first checkpoint
    f"step {i}": {"kind": kind, "kill": ["batch", chance.randint(EVERY["checkpoint_every"] + 2, STEPS)]}
    for i, kind in enumerate((*KINDS, *KINDS[:2]))
}
AT_DISK = {  # the config, the first checkpoint, and then a replacement, move by move
    f"disk {n}": {"kind": "gradient", "kill": ["disk", n], **SHORT} for n in (2, 5, 10, *range(29, 38))
}
TWICE = {
    "once": {"kind": "process", "kill": ["batch", 25]},
    "twice": {"kind": "process", "kill": ["batch", 20], "exist": "resume", "copy": "once"},
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, each killed where its name says."""
    folder = tmp_path_factory.mktemp("killed")
    kill({**AT_STEPS, **AT_DISK, **TWICE}, folder)
    return folder


@pytest.fixture
def victim(killed: Path, tmp_path: Path) -> Path:
    """A copy of a run that was killed after a checkpoint."""
    return shutil.copytree(killed / "step 0", tmp_path / "run")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The outcome of every learner's training without interruption."""
    folder = tmp_path_factory.mktemp("unbroken")
    found = {kind: outcome(train(kind, folder / kind).path) for kind in KINDS}
    return {**found, "short": outcome(train("gradient", folder / "short", **SHORT).path)}


@pytest.mark.parametrize("name", AT_STEPS)
def test_killed_at_a_random_step_resumes_to_the_bit(
    killed: Path, tmp_path: Path, unbroken: dict[str, Any], name: str
) -> None:
    out = shutil.copytree(killed / name, tmp_path / "run")
    assert not (out / "result.json").exists()
    run = train(AT_STEPS[name]["kind"], out, exist="resume")
    assert run.steps == STEPS
    assert outcome(run.path) == unbroken[AT_STEPS[name]["kind"]]


@pytest.mark.parametrize("name", AT_DISK)
def test_killed_between_any_two_touches_of_the_disk_resumes_to_the_bit(
    killed: Path, tmp_path: Path, unbroken: dict[str, Any], name: str
) -> None:
    run = train("gradient", shutil.copytree(killed / name, tmp_path / "run"), exist="resume", **SHORT)
    assert outcome(run.path) == unbroken["short"]
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["best", "last"]


def test_killed_twice(killed: Path, tmp_path: Path, unbroken: dict[str, Any]) -> None:
    run = train("process", shutil.copytree(killed / "twice", tmp_path / "run"), exist="resume")
    assert outcome(run.path) == unbroken["process"]


@pytest.mark.slow
def test_a_compiled_run_killed_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = train("gradient", tmp_path / "whole", compile=True)
    assert whole.config["compile"] is True
    kill({"killed": {"kind": "gradient", "kill": ["batch", 37], "compile": True}}, tmp_path)
    run = train("gradient", tmp_path / "killed", exist="resume", compile="auto", support=3)
    assert run.config["compile"] is True
    assert outcome(run.path) == outcome(whole.path)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)]
)
def test_a_signal_saves_before_leaving(
    tmp_path: Path, unbroken: dict[str, Any], number: int, error: type[BaseException]
) -> None:
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 25:
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(error) as caught:
        train("gradient", tmp_path / "run", Waves(interrupt))
    if number != signal.SIGINT:
        assert caught.value.code == 128 + number  # type: ignore[attr-defined]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    state = json.loads((tmp_path / "run" / "checkpoints" / "last" / "state.json").read_text())
    assert state["standing"]["step"] == 24  # the first call only looks; no interval ends here
    assert outcome(train("gradient", tmp_path / "run", exist="resume").path) == unbroken["gradient"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_is_ignored_does_not_stop_the_training(
    tmp_path: Path, unbroken: dict[str, Any], number: int
) -> None:
    """As SIGHUP is for a training under nohup."""
    calls: list[Any] = []

    def interrupt() -> None:
        calls.append(signal.getsignal(number))
        if len(calls) == 25:
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_IGN)
    try:
        train("gradient", tmp_path / "run", Waves(interrupt))
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert len(calls) > 25 and set(calls) == {signal.SIG_IGN}
    assert outcome(tmp_path / "run") == unbroken["gradient"]


def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    def interrupt() -> None:
        if (tmp_path / "run" / "checkpoints" / "last").exists():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train("gradient", tmp_path / "run", Waves(interrupt))
    state = json.loads((tmp_path / "run" / "checkpoints" / "last" / "state.json").read_text())
    assert state["standing"]["step"] == 0


def test_outside_the_main_thread_no_handler_is_needed(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    thread = threading.Thread(target=train, args=("gradient", tmp_path / "run"))
    thread.start()
    thread.join()
    assert outcome(tmp_path / "run") == unbroken["gradient"]


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = train("gradient", tmp_path / "run")

    def photograph() -> dict[str, Any]:
        return {str(p): (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in (tmp_path / "run").rglob("*")}

    before = photograph()
    time.sleep(0.01)
    again = train("gradient", tmp_path / "run", exist="resume")
    assert photograph() == before
    assert (again.steps, again.best_step, again.metrics) == (first.steps, first.best_step, first.metrics)
    for a, b in zip(first.learner.parameters(), again.learner.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_result_lost_after_the_last_checkpoint_is_written_again(tmp_path: Path) -> None:
    run = train("gradient", tmp_path / "run")
    result = json.loads((run.path / "result.json").read_text())
    (run.path / "result.json").unlink()
    train("gradient", tmp_path / "run", exist="resume")
    assert json.loads((run.path / "result.json").read_text()) == result


def test_the_threads_of_the_run_are_obeyed(victim: Path) -> None:
    torch.set_num_threads(2)
    seen: list[int] = []
    run = train("gradient", victim, Waves(lambda: seen.append(torch.get_num_threads())), exist="resume")
    assert run.config["threads"] == 1
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": STEPS + 1}, "steps was 60 and is now 61"),
        ({"lr": 0.5}, "lr was 0.001 and is now 0.5"),
        ({"support": 3}, r"support was \[2, 4\] and is now 3"),
        ({"family": qs.tasks.Sawtooth()}, "family was 'Waves"),
        ({"kind": "process"}, "learner.* was"),
    ],
)
def test_only_the_same_run_is_resumed(victim: Path, change: dict[str, Any], message: str) -> None:
    before = {p: p.read_bytes() for p in victim.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=message) as caught:
        train(change.pop("kind", "gradient"), victim, change.pop("family", None), exist="resume", **change)
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in victim.rglob("*") if p.is_file()} == before


def test_metrics_shorter_than_the_checkpoint_are_an_error(victim: Path) -> None:
    (victim / "metrics.jsonl").write_text("")
    with pytest.raises(qs.runs.checkpoint.CheckpointError, match=r"metrics\.jsonl has 0 bytes"):
        train("gradient", victim, exist="resume")


@pytest.mark.parametrize("byte", [b"x", b"\xff", b"1"])
def test_metrics_that_were_overwritten_are_an_error(victim: Path, byte: bytes) -> None:
    file = victim / "metrics.jsonl"
    file.write_bytes(byte * (file.stat().st_size - 1) + b"\n")
    before = file.read_bytes()
    with pytest.raises(qs.runs.checkpoint.CheckpointError, match=r"metrics\.jsonl is damaged"):
        train("gradient", victim, exist="resume")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": None}, "threads=None"),
        ({"threads": "x"}, "threads='x'"),
        ({"threads": -1}, "threads=-1"),
        ({"threads": True}, "threads=True"),
        ({"compile": "no"}, "compile='no'"),
        ({"device": 3}, "device=3"),
        ({"recipe": 3}, "recipe=3"),
        *(({name: ...}, f"lacks '{name}'") for name in ("threads", "compile", "device", "recipe", "command")),
    ],
)
def test_a_damaged_config_is_one_line(victim: Path, change: dict[str, Any], message: str) -> None:
    config = {k: v for k, v in (read_config(victim) | change).items() if v is not ...}
    (victim / "config.json").write_text(json.dumps(config))
    with pytest.raises(qs.runs.checkpoint.CheckpointError, match=message) as caught:
        train("gradient", victim, exist="resume")
    assert "\n" not in str(caught.value)


def test_another_engine_is_another_run(victim: Path) -> None:
    (victim / "config.json").write_text(json.dumps(read_config(victim) | {"engine": "loop"}))
    with pytest.raises(ValueError, match="engine was 'loop' and is now 'batched'"):
        train("gradient", victim, exist="resume")


def test_a_saved_learner_is_not_a_checkpoint_of_a_training(victim: Path) -> None:
    shutil.rmtree(victim / "checkpoints" / "last")
    qs.save(make("gradient"), victim / "checkpoints" / "last")
    with pytest.raises(qs.runs.checkpoint.CheckpointError, match=r"made by quickstudy\.save, not a checkpoint"):
        train("gradient", victim, exist="resume")


def test_a_run_that_lost_its_checkpoint_is_not_begun_anew(victim: Path) -> None:
    shutil.rmtree(victim / "checkpoints")
    with pytest.raises(qs.runs.checkpoint.CheckpointError, match="metrics and no checkpoint"):
        train("gradient", victim, exist="resume")


def test_resume_begins_in_a_new_folder(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    assert outcome(train("stateful", tmp_path / "new", exist="resume").path) == unbroken["stateful"]
    assert isinstance(make("stateful"), qs.Pretrained)
