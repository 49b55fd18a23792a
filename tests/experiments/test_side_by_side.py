"""Seeds that run at the same time: they give the same numbers, and all of them stop if one fails or on a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from recipes import running

from quickstudy.experiments.execute import _job, execute
from quickstudy.experiments.side_by_side import at_a_time, cores, side_by_side
from quickstudy.experiments.stage import Silent
from quickstudy.recipes.sinusoid.maml import Options
from quickstudy.runs.lock import Lock

TINY = Options(steps=3, width=8, test_tasks=4, shots=(2, 3), seeds=(3, 5))


def test_number_of_processes(monkeypatch):
    many = replace(TINY, seeds=tuple(range(1000)))
    assert at_a_time(many, 1000) == cores() and at_a_time(replace(many, parallel=7), 1000) == 7
    assert at_a_time(replace(TINY, parallel=7), 2) == 2
    monkeypatch.setenv("WORLD_SIZE", "2")  # under torchrun
    assert at_a_time(many, 1000) == 1


def test_results_equal_those_of_one_seed_at_a_time(tmp_path):
    before = torch.get_num_threads()
    reporter = running.Kept()
    both = execute("sinusoid-maml", replace(TINY, parallel=2, out=tmp_path / "both"), reporter=reporter)
    try:
        torch.set_num_threads(json.loads((tmp_path / "both/seed-3/config.json").read_text())["threads"])
        turns = execute("sinusoid-maml", replace(TINY, parallel=1, out=tmp_path / "turns"))
    finally:
        torch.set_num_threads(before)
    assert both["metrics"] == turns["metrics"] and both["seed"] == [3, 5]
    assert reporter.lines[0] == "2 seeds, 2 at a time"
    assert {line.split(":")[0] for line in reporter.lines[1:]} == {"seed 3", "seed 5"}
    options = json.loads((tmp_path / "both/config.json").read_text())["options"]
    assert "parallel" not in options


def test_a_failure_stops_all_jobs(tmp_path):
    (tmp_path / "seed-3").mkdir()
    (tmp_path / "seed-3/notes.txt").write_text("mine")
    each = {s: replace(TINY, seed=s, seeds=(), out=tmp_path / f"seed-{s}", steps=10**6) for s in (3, 5)}
    jobs = {f"seed {seed}": partial(_job, "sinusoid-maml", options, {}) for seed, options in each.items()}
    with pytest.raises(FileExistsError, match="seed-3 exists and is not a run"):
        side_by_side(jobs, Silent(), 2)  # the other would take an hour


def test_done_is_called_with_every_result(tmp_path):
    done = {}
    each = {s: replace(TINY, seed=s, seeds=(), out=tmp_path / f"seed-{s}") for s in (3, 5)}
    jobs = {f"seed {seed}": partial(_job, "sinusoid-maml", options, {}) for seed, options in each.items()}
    results = side_by_side(jobs, Silent(), 2, done.__setitem__)
    assert results == done and {name: r["seed"] for name, r in results.items()} == {"seed 3": 3, "seed 5": 5}


ORPHAN = """
import multiprocessing, time
from quickstudy.experiments.side_by_side import _run_job
from quickstudy.runs.signals import Signals

def job(reporter):
    with Signals() as signals:
        reporter.say("x" * 300_000)  # more than a pipe holds, and no process reads it
        print("training", flush=True)
        while signals.received is None:
            time.sleep(0.01)
    print("saved", signals.received, flush=True)
    signals.leave()

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    context.Process(target=_run_job, args=("a", job, 1, context.Queue())).start()
    time.sleep(600)
"""


def test_a_process_saves_and_exits_when_its_parent_is_killed(tmp_path):
    (tmp_path / "orphan.py").write_text(ORPHAN)
    with subprocess.Popen([sys.executable, tmp_path / "orphan.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "training\n"
        parent.kill()
        assert parent.stdout.read() == f"saved {signal.SIGTERM}\n"  # ends when the child exits, which holds the pipe


def wait_for(condition, seconds=60):
    """Wait until `condition()` is true, at most for so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_signals_stop_all_seeds_with_a_checkpoint(tmp_path, number, code):
    small = running.TINY["sinusoid-maml"][2:]  # all but the steps
    command = [sys.executable, "-m", "quickstudy.cli", "run", "sinusoid-maml", *small, "--steps", "100000"]
    run = tmp_path / "run"
    process = subprocess.Popen([*command, "--seeds", "0", "1", "--out", str(run)], stderr=subprocess.PIPE, text=True)
    files = [run / f"seed-{seed}/metrics.jsonl" for seed in (0, 1)]
    wait_for(lambda: all(f.exists() and f.stat().st_size for f in files), 120)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and (number == signal.SIGKILL or "continue with `quickstudy resume" in said)
    for seed in (0, 1):
        wait_for(lambda: lock_is_free(run / f"seed-{seed}"))
        state = json.loads((run / f"seed-{seed}/checkpoints/last/state.json").read_text())
        assert 0 < state["standing"]["step"] < 100_000


def test_ctrl_c_while_the_processes_start_shows_no_traceback(tmp_path):
    """A terminal sends SIGINT to all processes, also to those that still import."""
    command = [sys.executable, "-m", "quickstudy.cli", "run", "sinusoid-maml", "--steps", "100000", "--seeds", "0", "1"]
    pipes = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([*command, "--parallel", "2", "--out", str(tmp_path / "run")], **pipes)
    for line in process.stderr:
        if "2 at a time" in line:
            break
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in rest, rest
    assert "continue with `quickstudy resume" in rest


def lock_is_free(folder):
    """Whether no process trains in the folder."""
    try:
        with Lock(folder):
            return True
    except BlockingIOError:
        return False
