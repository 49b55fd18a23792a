"""Scenes of one's own: runs, parts of runs, and models of tables."""

import csv
import random
from pathlib import Path

import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.data import Examples
from quickstudy.play.functions.answers import predict
from quickstudy.play.functions.own import own_scene
from quickstudy.play.message import Message
from quickstudy.runs.checkpoint import CheckpointError
from quickstudy.tables.choosing import choose

SIZES = {"steps": 2, "tasks": 2, "support": 3, "query": 3}
POINTS = [[0.5, 1.0], [1.0, 2.0]]


def ask(scene: object, **fields: object) -> dict:
    return predict({"own": scene}, Message({"scene": "own", "points": POINTS, **fields}))


@pytest.mark.parametrize("kind", ["maml", "cnp"])
def test_a_run_is_a_scene(tmp_path: Path, kind: str) -> None:
    learner = qs.MAML(qs.nets.MLP(1, [8], 1)) if kind == "maml" else qs.CNP(width=8)
    run = tmp_path / kind
    qs.fit(learner, qs.tasks.Sinusoid(noise=0.1), out=run, **SIZES)
    scene = own_scene(run)
    assert scene.x == (-5.0, 5.0) and scene.noise == 0.1 and scene.y[0] < -3 < 3 < scene.y[1]

    answer = ask(scene, truth={}, seed=3)
    [own] = answer["players"].values()
    pairs = torch.tensor([POINTS])
    x = torch.tensor(answer["x"]).reshape(1, -1, 1)
    belief = qs.load(run).adapt(Examples(pairs[..., :1], pairs[..., 1:]))(x)
    assert torch.allclose(torch.tensor(own["mean"]), belief.mean[0, :, 0].detach(), atol=1e-6)
    assert (own["low"] is None) == (kind == "maml")  # squared error has no density
    assert own["error"] > 0 and ("inside" in own) == (kind == "cnp")

    wave = torch.tensor(answer["truth"])  # a sine wave of MAML's, without noise: y'' = -y
    step = 10 / (len(wave) - 1)
    assert torch.allclose((wave[2:] - 2 * wave[1:-1] + wave[:-2]) / step**2, -wave[1:-1], atol=0.1)


def test_a_run_with_parts_has_a_panel_for_each(tmp_path: Path) -> None:
    waves = qs.tasks.Sinusoid()
    qs.fit(qs.CNP(width=8), waves, out=tmp_path / "run" / "cnp", **SIZES)
    qs.fit(qs.MAML(qs.nets.MLP(1, [8], 1)), waves, out=tmp_path / "run" / "maml", **SIZES)
    scene = own_scene(tmp_path / "run")
    assert {name: player.title for name, player in scene.players.items()} == {"own-cnp": "CNP", "own-maml": "MAML"}
    assert set(own_scene(tmp_path / "run" / "cnp").players) == {"own-cnp"}

    told = qs.tasks.Informed(waves, ("phase",))
    qs.fit(qs.CNP(dx=2, width=8), told, out=tmp_path / "run" / "told", **SIZES)
    with pytest.raises(ValueError, match="told does not predict functions of one variable"):
        own_scene(tmp_path / "run")


def test_a_table_is_a_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(rows: object, **options: object) -> object:
        return choose(rows, **options | {"only": ("everyone", "intercept", "line")})  # the other learners are slow

    monkeypatch.setattr("quickstudy.tables.outputs.choose", quick)
    chance, table = random.Random(0), tmp_path / "plants.csv"
    with open(table, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["plant", "day", "height"])
        for plant in range(8):
            rate = chance.gauss(1, 0.3)
            rows.writerows([f"p{plant}", day, 3 + rate * day + chance.gauss(0, 0.2)] for day in range(0, 12, 2))
    given = ["--group", "plant", "--x", "day", "--y", "height", "--out", str(tmp_path / "model")]
    assert main(["table", str(table), *given]) == 0
    scene = own_scene(tmp_path / "model")
    assert scene.axes == ("day", "height") and scene.x == (0.0, 10.0) and scene.hidden is None
    [own] = ask(scene)["players"].values()
    assert all(low < mean < high for low, mean, high in zip(own["low"], own["mean"], own["high"], strict=True))


def test_what_is_no_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no trained learner"):
        own_scene(tmp_path)
    qs.fit(qs.CNP(dx=2, width=8), qs.tasks.Sawtooth(dx=2), out=tmp_path / "two", **SIZES)
    with pytest.raises(ValueError, match="functions of one variable"):
        own_scene(tmp_path / "two")
    given = qs.tasks.from_dataset([(torch.randn(6, 1), torch.randn(6, 1)) for _ in range(12)])
    qs.fit(qs.CNP(width=8), given, out=tmp_path / "data", steps=2, tasks=2, support=3, query=3)
    with pytest.raises(ValueError, match="is not saved; the page knows the range of x from the family"):
        own_scene(tmp_path / "data")


def test_the_command_line_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(tmp_path), "--no-browser", "--port", "0"]) == 1
    assert f"{tmp_path} holds no trained learner" in capsys.readouterr().err
