"""Runs of unknown origin: reading their files ends soon, with their content or with one CheckpointError."""

import copy
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training.workload import STEPS, Waves, make, train

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.runs.reading import CheckpointError, parse_object
from quickstudy.runs.run import read_config

STATE = "checkpoints/last/state.json"


class Stopped(Exception):
    """Ends a training in the middle."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after a checkpoint."""
    folder, calls = tmp_path_factory.mktemp("stopped") / "run", 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 25:
            raise Stopped

    with pytest.raises(Stopped):
        train("gradient", folder, Waves(stop))
    return folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """A test that reads for ever fails."""

    def late(*_: object) -> None:
        raise TimeoutError("reading takes too long")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def reseal(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a state, and make its digest that of the change."""
    state = json.loads(path.read_text())
    del state["sha256"]
    change(state)
    state["sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(state))


def at(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """A change: what is at `keys` becomes `to`; `...` deletes it."""

    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        if to is ...:
            del state[keys[-1]]
        else:
            state[keys[-1]] = to

    return change


def nested(depth: int, tag: str | None) -> Any:
    """Lists in lists, plain or as `flatten` writes them."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if tag is None else {tag: [value]}
    return value


OPTIMIZER = ("parts", "training", "structure", "dict", 0, 1, "dict")
CHANGES = {
    **{f"{key} dropped": at(key, to=...) for key in ("format", "kind", "standing", "parts")},
    **{f"standing.{key} dropped": at("standing", key, to=...) for key in ("step", "metrics_bytes", "validation")},
    "format a word": at("format", to="x"),
    "format true": at("format", to=True),
    "parts a list": at("parts", to=[]),
    "no weights": at("parts", "model", to=...),
    "another part": at("parts", "extra", to={}),
    "no digest": at("parts", "model", "sha256", to=...),
    "a structure of None": at("parts", "model", "structure", to=None),
    "weights in a list": at("parts", "model", "structure", to={"list": []}),
    "a tensor that is not there": at("parts", "model", "structure", to={"dict": [["w", {"tensor": "x"}]]}),
    "an entry of three": at("parts", "model", "structure", to={"dict": [[1, 2, 3]]}),
    "a tensor as a key": at("parts", "model", "structure", to={"dict": [[{"list": []}, 1]]}),
    "a float of letters": at("parts", "model", "structure", to={"float": "x"}),
    "nested hundreds of times": at("parts", "model", "structure", to=nested(200, "list")),
    "nested plainly": at("standing", to=nested(150, None)),
    "no training": at("parts", "training", to=...),
    "no optimiser": at(*OPTIMIZER[:3], to=None),
    "no groups": at(*OPTIMIZER, to=[["state", {"dict": []}]]),
    "a group of none": at(*OPTIMIZER, 1, 1, to={"list": []}),
    "groups of numbers": at(*OPTIMIZER, 1, 1, to={"list": [3]}),
    "a state of a parameter that is not there": at(*OPTIMIZER, 0, 1, "dict", 0, 0, to=99),
    "a moment that is missing": at(*OPTIMIZER, 0, 1, "dict", 0, 1, "dict", 1, to=...),
    "a moment of another shape": at(
        *OPTIMIZER, 0, 1, "dict", 0, 1, "dict", 1, 1, to={"tensor": "optimizer/state/1/exp_avg"}
    ),
    "steps of the optimiser in words": at(*OPTIMIZER, 0, 1, "dict", 0, 1, "dict", 0, 1, to="x"),
    **{
        f"{key}={value!r:.20}": at("standing", key, to=value)
        for key, values in {
            "step": (-1, "1", 1.5, True, None, STEPS + 1, 10**30),
            "metrics_bytes": (-5, None, 10**30, "0"),
            "seconds": (-1, "x", 1e999, None),
            "loss_sum": (None, 1e999, [], 10**4000),
            "loss_count": (10**9, -1, 0.5),
            "best_loss": ("x", 1e999, {}),
            "best_step": (10**6, "x"),
            "waited": (-1, None),
            "finished": (1, "yes", None),
            "stopped_early": (None, 0),
            "validation": ([], {"mean": 1}, {"mean": "x", "ci95": 1, "n": 1, "over": "tasks"}, 3),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_that_was_sealed_again(run: Path, name: str) -> None:
    reseal(run / STATE, CHANGES[name])
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError) as caught:
        train("gradient", run, exist="resume")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500 and "restore" in str(caught.value)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


LEARNERS = {
    **{f"{key} dropped": at("learner", key, to=...) for key in ("class", "network")},
    "no learner": at("learner", to=...),
    "a learner in a list": at("learner", to=[]),
    "a class in a list": at("learner", "class", to=["MAML"]),
    "foreign without a name": at("learner", to={"class": None}),
    "a network in a number": at("learner", "network", to=10**30),
    "two hundred thousand layers": at("learner", "network", "hidden", to=[1] * 200_000),
    "a layer of a trillion units": at("learner", "network", "hidden", to=[10**12]),
    "layers that do not fit into memory": at("learner", "network", "hidden", to=[10**6, 10**6]),
    "units beyond numbers": at("learner", "network", "hidden", to=[10**30]),
    "other units": at("learner", "network", "hidden", to=[9]),
    "an unknown argument": at("learner", "surprise", to=1),
    "nested": at("learner", "network", to=nested(150, None)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_description_of_a_learner_that_was_sealed_again(run: Path, name: str) -> None:
    reseal(run / STATE, LEARNERS[name])
    expected = ValueError if name == "foreign without a name" else CheckpointError  # which asks for the learner
    with pytest.raises(expected) as caught:
        qs.load(run, which="last")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_every_learner_is_described_within_bounds(tmp_path: Path) -> None:
    for i, learner in enumerate((make("gradient"), make("process"), qs.MAML(qs.nets.Conv4(1, 5, side=28)))):
        loaded = qs.load(qs.save(learner, tmp_path / str(i)))
        for name, value in learner.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name])


@pytest.mark.parametrize("threads", [0, -1, 10**9, 10**30, 1.0, True, "2", None])
def test_threads(run: Path, threads: Any) -> None:
    config = read_config(run) | {"threads": threads}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has threads="):
        train("gradient", run, exist="resume")


@pytest.mark.parametrize(
    "line",
    [b"[]", b"3", b"{}", b'{"step": "1"}', b'{"step": 1, "loss": "x"}', b'{"step": 1, "loss": [1]}', b"[" * 10**5],
)
def test_lines_of_metrics(run: Path, line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "metrics.jsonl"
    file.write_bytes(line + b"\n" + file.read_bytes())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged"):
        train("gradient", run, exist="resume")
    assert main(["report", str(run)]) == 1
    assert "metrics.jsonl is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", STATE, "checkpoints/last/model.safetensors"])
def test_a_pipe_in_the_place_of_a_file(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises((CheckpointError, FileExistsError), match="not a regular file|not a run"):
        train("gradient", run, exist="resume")


@pytest.mark.parametrize(
    "data", [b"[" * 10**6, b'{"a":' * 10**5, b'{"a": NaN}', b"[]", b"", b"\xff", b'{"a": 1' + b"1" * 5000 + b"}"]
)
def test_objects_are_sound(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(data)
    assert parse_object(json.dumps({"a": [1, {"b": None}]}).encode()) == {"a": [1, {"b": None}]}


LINKS = ["metrics.jsonl", ".lock", "checkpoints/last/state.json", "result.json", "config.json", "figures/a.png"]


@pytest.mark.parametrize("name", [*LINKS, "checkpoints", "checkpoints/last", "figures", "tensorboard"])
@pytest.mark.parametrize("dangling", [False, True])
def test_links_are_not_written_through(run: Path, tmp_path: Path, name: str, dangling: bool) -> None:
    if dangling and name in ("config.json", "checkpoints", "checkpoints/last", STATE):
        pytest.skip("without it there is no run")
    target, place = tmp_path / "precious", run / name
    if place.is_dir():
        place.rename(target)
    elif place.exists():
        place.rename(target)
    else:
        target.write_text("precious")
    place.symlink_to(target)
    if dangling:
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    before = _tree(target)
    with pytest.raises((CheckpointError, OSError), match="symbolic link"):
        train("gradient", run, exist="resume")
    assert _tree(target) == before


@pytest.mark.parametrize("name", [".lock", "config.json.quickstudy-tmp"])
def test_links_in_a_new_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    with pytest.raises((CheckpointError, OSError), match="symbolic link"):
        train("gradient", tmp_path / "run", steps=1)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_run_behind_a_link_is_the_users_own(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(run)
    assert train("gradient", tmp_path / "elsewhere", exist="resume").steps == STEPS


def _tree(place: Path) -> Any:
    if place.is_dir():
        return {str(p): copy.copy(p.read_bytes()) for p in place.rglob("*") if p.is_file()}
    return place.read_bytes() if place.exists() else None
