"""Checkpoints: what is written comes back; what was damaged is refused in one line."""

import json
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from training.workload import train

import quickstudy as qs
from quickstudy.runs import checkpoint
from quickstudy.runs.checkpoint import CheckpointError, load_weights, read_checkpoint, write_checkpoint


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.second = torch.nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.tensor(2.0))


def test_weights_and_optimiser_come_back_to_the_bit(tmp_path: Path) -> None:
    module = Tied()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, betas=(0.9, 0.99), amsgrad=True)
    module.first(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    write_checkpoint(tmp_path / "last", module.state_dict(), {"optimizer": optimizer.state_dict()}, {"note": "é"})
    checkpoint = read_checkpoint(tmp_path / "last")
    assert checkpoint.facts["note"] == "é"

    other = Tied()
    load_weights(other, checkpoint.weights, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert other.second.weight is other.first.weight
    again = torch.optim.AdamW(other.parameters(), lr=0.5)
    again.load_state_dict(checkpoint.training["optimizer"])
    mine, theirs = optimizer.state_dict(), again.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    for key, state in mine["state"].items():
        assert all(torch.equal(value, theirs["state"][key][name]) for name, value in state.items())


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", Tied().state_dict(), None, {})
    stored = safetensors.torch.load_file(tmp_path / "last" / "model.safetensors")
    assert set(stored) == {"first.weight", "first.bias", "scale"}
    structure = json.loads((tmp_path / "last" / "state.json").read_text())["parts"]["model"]["structure"]
    assert ["second.weight", {"tensor": "first.weight"}] in structure["ordered_dict"]


def test_state_that_cannot_be_kept_raises_and_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", {}, None, {"note": 1})
    with pytest.raises(TypeError, match="at optimizer cannot be saved"):
        write_checkpoint(tmp_path / "last", {}, {"optimizer": object()}, {"note": 2})
    assert read_checkpoint(tmp_path / "last").facts["note"] == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("gradient", tmp_path_factory.mktemp("runs") / "run", steps=3).path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "weights truncated": ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-1])),
    "weights empty": ("model.safetensors", lambda p: p.write_bytes(b"")),
    "a bit of the weights flipped": ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x7f")),
    "weights gone": ("model.safetensors", lambda p: p.unlink()),
    "optimiser truncated": ("training.safetensors", lambda p: p.write_bytes(p.read_bytes()[:40])),
    "optimiser gone": ("training.safetensors", lambda p: p.unlink()),
    "state gone": ("state.json", lambda p: p.unlink()),
    "state truncated": ("state.json", lambda p: p.write_bytes(p.read_bytes()[:100])),
    "state edited": ("state.json", lambda p: edit(p, '"step": 3', '"step": 2')),
    "state is another thing": ("state.json", lambda p: p.write_text("[1]")),
    "state is binary": ("state.json", lambda p: p.write_bytes(b"\x80\x04cos\nsystem\n")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, finished: Path, damage: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    name, harm = DAMAGES[damage]
    harm(tmp_path / "run" / "checkpoints" / "last" / name)
    with pytest.raises(CheckpointError, match=name) as caught:
        qs.load(tmp_path / "run", which="last")
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=name):
        train("gradient", tmp_path / "run", steps=3, exist="resume")
    assert isinstance(qs.load(tmp_path / "run", which="best"), qs.MAML)


def test_a_damaged_config_is_one_line(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        train("gradient", tmp_path / "run", steps=3, exist="resume")


def test_a_checkpoint_of_the_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qs.runs.checkpoint, "FORMAT", 2)
    write_checkpoint(tmp_path / "last", {}, None, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="newer quickstudy"):
        read_checkpoint(tmp_path / "last")


def test_the_version_that_wrote_it_is_named_where_a_description_does_not_fit(tmp_path: Path, monkeypatch) -> None:
    """As after a newer version had added an argument to a class, or a class."""
    monkeypatch.setattr(checkpoint, "__version__", "9.0.0")
    monkeypatch.setattr(qs.CNP, "config", lambda self: {"dx": 1, "dy": 1, "of_the_future": 1})
    path = qs.save(qs.CNP(width=4), tmp_path / "saved")
    monkeypatch.undo()
    with pytest.raises(
        CheckpointError, match=r"does not fit this version.* \(quickstudy '9.0.0' wrote it, and this is "
    ):
        qs.load(path)


def test_weights_of_another_learner_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", torch.nn.Linear(2, 2).state_dict(), None, {})
    weights = read_checkpoint(tmp_path / "last").weights
    with pytest.raises(CheckpointError, match=r"weight is float32 \[2, 2\] there and float32 \[3, 2\] here"):
        load_weights(torch.nn.Linear(2, 3), weights, tmp_path)


def test_a_limit_of_the_system_on_file_size_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", {"a": torch.zeros(4)}, None, {"note": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*last: File too large; raise the limit"):
            write_checkpoint(tmp_path / "last", {"a": torch.zeros(10_000)}, None, {"note": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(tmp_path / "last").facts["note"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_pickle_is_neither_written_nor_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("pickle was used")

    for module, name in ((torch, "save"), (torch, "load"), (pickle, "dump"), (pickle, "load"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    train("gradient", tmp_path / "run", steps=3)
    train("gradient", tmp_path / "run", steps=3, exist="resume")
    qs.load(tmp_path / "run")
    assert not any(b"PK\x03\x04" in p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
