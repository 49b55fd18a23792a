"""Several outputs: each is learned, judged and predicted from its own rows."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.data import Examples, Tasks
from quickstudy.predictive import Gaussian
from quickstudy.tables.each_output import EachOutput, SideBySide, observed
from quickstudy.tables.model import TableModel
from quickstudy.tables.outputs import read_outputs
from quickstudy.tasks.datasets.columns import read_groups
from quickstudy.tasks.datasets.inputs import Reading


@pytest.fixture(scope="module")
def model() -> EachOutput:
    torch.manual_seed(0)
    tasks = qs.tasks.Sinusoid().sample(30, support=5, query=5)
    members = {}
    for name, scale in (("a", 1.0), ("b", 3.0)):
        member = qs.MixedModel()
        member.fit(Tasks(*(part._replace(y=scale * part.y) for part in tasks[:2])))
        members[name] = member
    return EachOutput(members)


def points(tasks: int = 3, rows: int = 4, seed: int = 0) -> Examples:
    chance = torch.Generator().manual_seed(seed)
    y = torch.randn(tasks, rows, 2, generator=chance)
    y[0, 0, 0] = y[0, 2, 1] = y[1, :, 1] = math.nan
    return Examples(torch.randn(tasks, rows, 1, generator=chance), y)


def test_a_missing_outcome_costs_no_other(model: EachOutput, tmp_path: Path) -> None:
    """Each output is predicted as by its own learner from the rows that have it."""
    given, x = points(), torch.randn(3, 5, 1)
    belief = model.adapt(given)(x)
    for t in range(3):
        for d, member in enumerate(model.members):
            known = ~given.y[t, :, d].isnan()
            own: Any = member
            alone = own.adapt(Examples(given.x[t : t + 1, known], given.y[t : t + 1, known, d : d + 1]))(x[t : t + 1])
            torch.testing.assert_close(belief.mean[t, :, d], alone.mean[0, :, 0])
            torch.testing.assert_close(belief.variance[t, :, d], alone.variance[0, :, 0])
    more = points(seed=1)
    union = model.adapt(given.append(more))(x)
    torch.testing.assert_close(model.adapt(given).append(more)(x).mean, union.mean)
    qs.save(model, tmp_path / "m")
    assert torch.equal(qs.load(tmp_path / "m").adapt(given)(x).mean, belief.mean)
    with pytest.raises(ValueError, match=r"support.y has shape \[3, 4, 1\]; expected \[T, N, 2\], 2 outputs"):
        model.adapt(given._replace(y=given.y[..., :1]))


def test_a_belief_about_independent_outputs() -> None:
    chance = torch.Generator().manual_seed(0)
    mean, variance = torch.randn(2, 3, 2, generator=chance), torch.rand(2, 3, 2, generator=chance) + 0.5
    whole = Gaussian(mean, variance)
    belief = SideBySide(tuple(Gaussian(mean[..., d : d + 1], variance[..., d : d + 1]) for d in range(2)))
    y = torch.randn(2, 3, 2, generator=chance)
    mask = torch.tensor([[True, True, False]] * 2)
    both = mask.unsqueeze(-1) & torch.tensor([True, False])
    for given in (None, mask, both):
        for joint in (False, True):
            torch.testing.assert_close(belief.log_prob(y, given, joint), whole.log_prob(y, given, joint))
    lost = torch.where(both, math.nan, y)
    torch.testing.assert_close(belief.log_prob(lost), whole.log_prob(y, ~both))
    torch.testing.assert_close(belief.cdf(y), whole.cdf(y))
    torch.testing.assert_close(belief.quantile([0.1, 0.7]), whole.quantile([0.1, 0.7]))
    torch.testing.assert_close(belief.interval(0.9), whole.interval(0.9))
    scale = torch.tensor([2.0, 5.0])
    torch.testing.assert_close(belief.rescale(y, scale).mean, whole.rescale(y, scale).mean)
    torch.testing.assert_close(belief.rescale(1.0, scale).variance, whole.rescale(1.0, scale).variance)
    draws = belief.sample(20_000, chance)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.05, rtol=0)


def test_rows_that_are_known_come_first() -> None:
    given = points()
    found = observed(given, 1)
    assert found.sizes().tolist() == [3, 0, 4] and not found.y.isnan().any()
    assert torch.equal(found.y[0, :3, 0], given.y[0, [0, 1, 3], 1]) and torch.equal(found.x[2], given.x[2])
    assert observed(Examples(torch.zeros(2, 0, 1), torch.zeros(2, 0, 2)), 0).num_points == 0


LINES = [f"p{i},{t},{'ab'[i % 2]},{10 + i + 2 * t + i * t % 3},{5 + t - i % 4}" for i in range(8) for t in range(5)]


def _columns(lines: list[str]) -> dict[str, list[str]]:
    cells = zip(*(line.split(",") for line in lines), strict=True)
    return dict(zip(("who", "t", "arm", "height", "mass"), map(list, cells), strict=True))


def test_every_output_has_its_own_rows() -> None:
    lines = list(LINES)
    lines[3] = "p0,3,a,16,"
    lines[7] = "p1,2,b,,"
    height, mass = read_outputs(_columns(lines), "who", ("t", "arm"), ("height", "mass"), missing="drop")
    assert (height.dropped, mass.dropped) == ((1, 0), (2, 0)) and height.inputs == mass.inputs
    alone = read_groups(_columns(lines), "who", ("t", "arm"), ("height",), missing="drop")
    assert height.digests() == alone.digests()
    with pytest.raises(
        ValueError,
        match="row 8 has no value in column 'height', row 4 has no value in column 'mass' .2 such rows in all.; pass",
    ):
        read_outputs(_columns(lines), "who", ("t", "arm"), ("height", "mass"))
    few = [line.rsplit(",", 1)[0] + "," if int(line[1]) > 4 else line for line in LINES]
    with pytest.raises(ValueError, match="the table has 5 groups with 'mass', .*give at least 6 groups"):
        read_outputs(_columns(few), "who", ("t",), ("height", "mass"), missing="drop")
    elapsed = _columns([line.replace(",", ",2021-03-0", 1).replace("2021-03-00", "2021-03-09", 1) for line in lines])
    for rows in read_outputs(
        elapsed, "who", ("t",), ("height", "mass"), missing="drop", reading=Reading(dates="elapsed")
    ):
        assert rows.rows[2][:, 0].tolist() == [0, 1, 2, 3, 8]


def test_missing_outcomes_from_the_shell(tmp_path: Path, monkeypatch, capsys) -> None:
    """Two outputs are predicted as by a model of each alone; rows that are known in part are used and predicted."""
    from quickstudy.tables import outputs

    whole = outputs.choose
    monkeypatch.setattr(
        outputs, "choose", lambda rows, **options: whole(rows, **options, only=("everyone", "intercept"))
    )
    monkeypatch.chdir(tmp_path)
    lines = list(LINES)
    lines[3], lines[12], lines[7] = "p0,3,a,16,", "p2,2,a,,5", "p1,,b,15,6"
    Path("t.csv").write_text("who,t,arm,height,mass\n" + "\n".join(lines) + "\n")
    given = ["table", "t.csv", "--group", "who", "--x", "t", "--missing", "drop"]
    for names in (["height", "mass"], ["height"], ["mass"]):
        assert main([*given, "--y", *names, "--out", "-".join(names)]) == 0
    said = capsys.readouterr().out
    assert "height: left out: 2 of 40 rows, which lack a value" in said and "mass: left out: 2 of 40 rows" in said
    assert "root mean squared error of height" in said and "log-likelihood per point of mass" in said
    Path("new.csv").write_text("who,t,height,mass\nn,0,12,\nn,1,,6\nn,3,,\n")
    found = {}
    for folder in ("height-mass", "height", "mass"):
        assert main(["predict", folder, "new.csv", "--out", f"{folder}.csv"]) == 0
        with Path(f"{folder}.csv").open() as file:
            found[folder] = {float(row["t"]): row for row in csv.DictReader(file)}
    both = found["height-mass"]
    assert list(both) == [0, 1, 3] and list(found["height"]) == [1, 3] and list(found["mass"]) == [0, 3]
    for name in ("height", "mass"):
        for word in ("mean", "sd", "q0.05"):
            column = f"{name}_{word}"
            assert float(both[3][column]) == pytest.approx(float(found[name][3][column]), rel=1e-6)
    assert Path("height-mass.png").exists() and Path("height-mass-mass.png").exists()
    model = TableModel.load("height-mass")
    assert model.y == ("height", "mass") and set(model.weights) == {
        "height: mixed model, line and random intercept",
        "mass: mixed model, line and random intercept",
    }
    assert model.rows == 38 and model.groups == 8


def test_missing_inputs_from_the_shell(tmp_path: Path, monkeypatch, capsys) -> None:
    from quickstudy.tables import outputs

    whole = outputs.choose
    monkeypatch.setattr(
        outputs, "choose", lambda rows, **options: whole(rows, **options, only=("everyone", "intercept"))
    )
    monkeypatch.chdir(tmp_path)
    lines = list(LINES)
    lines[3] = "p0,3,,16,5"
    Path("t.csv").write_text("who,t,arm,height,mass\n" + "\n".join(lines) + "\n")
    given = ["table", "t.csv", "--group", "who", "--y", "height", "--out", "m", "--missing", "fill", "--x", "t"]
    assert main([*given, "mass", "arm"]) == 0
    said = capsys.readouterr().out
    assert "filled in: arm is missing in 1 row, and has a there; the input 'arm missing' marks them" in said
    Path("new.csv").write_text("who,t,arm,mass,height\nn,0,b,5,12\nn,1,,5,\n")
    assert main(["predict", "m", "new.csv", "--out", "p.csv"]) == 0
    assert Path("p.csv").read_text().splitlines()[1].startswith("n,1.0,5.0,,")
    Path("new.csv").write_text("who,t,arm,mass,height\nn,0,b,5,12\nn,1,b,,\n")
    assert main(["predict", "m", "new.csv", "--out", "q.csv"]) == 1
    assert "row 2 has no value in column 'mass'; fill it in" in capsys.readouterr().err
