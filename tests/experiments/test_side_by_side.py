"""Seeds that run at the same time: the same numbers, one failure for all, and leaving together."""

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


def test_as_many_as_there_are_cores_or_as_asked(monkeypatch):
    many = replace(TINY, seeds=tuple(range(1000)))
    assert at_a_time(many, 1000) == cores() and at_a_time(replace(many, parallel=7), 1000) == 7
    assert at_a_time(replace(TINY, parallel=7), 2) == 2
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun has dealt the cores out already
    assert at_a_time(many, 1000) == 1


def test_the_numbers_are_those_of_one_seed_after_the_other(tmp_path):
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


def test_one_failure_is_that_of_all(tmp_path):
    (tmp_path / "seed-3").mkdir()
    (tmp_path / "seed-3/notes.txt").write_text("mine")
    each = {s: replace(TINY, seed=s, seeds=(), out=tmp_path / f"seed-{s}", steps=10**6) for s in (3, 5)}
    jobs = {f"seed {seed}": partial(_job, "sinusoid-maml", options, {}) for seed, options in each.items()}
    with pytest.raises(FileExistsError, match="seed-3 exists and is not a run"):
        side_by_side(jobs, Silent(), 2)  # the other would take an hour


def test_jobs_are_told_of_as_they_end(tmp_path):
    done = {}
    each = {s: replace(TINY, seed=s, seeds=(), out=tmp_path / f"seed-{s}") for s in (3, 5)}
    jobs = {f"seed {seed}": partial(_job, "sinusoid-maml", options, {}) for seed, options in each.items()}
    results = side_by_side(jobs, Silent(), 2, done.__setitem__)
    assert results == done and {name: r["seed"] for name, r in results.items()} == {"seed 3": 3, "seed 5": 5}


ORPHAN = """
import multiprocessing, time
from quickstudy.experiments.side_by_side import _run
from quickstudy.runs.signals import Signals

def job(reporter):
    with Signals() as signals:
        reporter.say("x" * 300_000)  # more than a pipe holds, and nobody reads it
        print("training", flush=True)
        while signals.received is None:
            time.sleep(0.01)
    print("saved", signals.received, flush=True)
    signals.leave()

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    context.Process(target=_run, args=("a", job, 1, context.Queue())).start()
    time.sleep(600)
"""


def test_a_process_whose_parent_is_killed_saves_and_leaves(tmp_path):
    (tmp_path / "orphan.py").write_text(ORPHAN)
    with subprocess.Popen([sys.executable, tmp_path / "orphan.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "training\n"
        parent.kill()
        assert parent.stdout.read() == f"saved {signal.SIGTERM}\n"  # which ends when the child has: it holds the pipe


def wait_for(condition, seconds=60):
    """Until `condition()` is true, or raises."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_all_leave_together_and_go_on(tmp_path, number, code):
    small = running.TINY["sinusoid-maml"][2:]  # all but the steps
    command = [sys.executable, "-m", "quickstudy.cli", "run", "sinusoid-maml", *small, "--steps", "100000"]
    run = tmp_path / "run"
    process = subprocess.Popen([*command, "--seeds", "0", "1", "--out", str(run)], stderr=subprocess.PIPE, text=True)
    files = [run / f"seed-{seed}/metrics.jsonl" for seed in (0, 1)]
    wait_for(lambda: all(f.exists() and f.stat().st_size for f in files), 120)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and (number == signal.SIGKILL or "go on with `quickstudy resume" in said)
    for seed in (0, 1):
        wait_for(lambda: lock_is_free(run / f"seed-{seed}"))
        state = json.loads((run / f"seed-{seed}/checkpoints/last/state.json").read_text())
        assert 0 < state["standing"]["step"] < 100_000


def lock_is_free(folder):
    """Whether nobody trains there."""
    try:
        with Lock(folder):
            return True
    except BlockingIOError:
        return False
