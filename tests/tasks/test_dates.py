"""Dates, times and durations as numbers of days."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from quickstudy.tasks.datasets.dates import duration, moment, unclear, written

DAY = (datetime(2021, 3, 4) - datetime(1970, 1, 1)).days
SAME = [
    *("2021-03-04", "2021/03/04", "2021-3-4", " 2021-03-04 ", date(2021, 3, 4), datetime(2021, 3, 4)),
    *(pd.Timestamp("2021-03-04"), np.datetime64("2021-03-04"), pd.Period("2021-03-04"), "2021-03-04 00:00"),
]


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_days_since_1970(value: object) -> None:
    found = moment(value)
    assert found is not None and found.days == DAY and not found.zoned
    assert found.timed == (value == "2021-03-04 00:00")


@pytest.mark.parametrize(
    "value",
    [
        *("2021-03-04T16:30:00+01:00", "2021-03-04 15:30Z", "2021-03-04 15:30:00 UTC", "2021-03-04T17:00:00+0130"),
        *("2021-03-04 16:30:00.000+01", datetime(2021, 3, 4, 16, 30, tzinfo=timezone(timedelta(hours=1)))),
        pd.Timestamp("2021-03-04 16:30", tz="Europe/Paris"),
    ],
    ids=repr,
)
def test_time_zones_are_converted(value: object) -> None:
    found = moment(value)
    assert found is not None and found.zoned and found.days == pytest.approx(DAY + 15.5 / 24, abs=1e-12)


def test_times_of_day() -> None:
    for value in ("2021-03-04 06:00", "2021-03-04T06:00:00.000", np.datetime64("2021-03-04T06:00"), "2021-03-04 6:00"):
        assert moment(value) == (DAY + 0.25, True, False)
    found = moment("2021-03-04 00:00:00,5")
    assert found is not None and (found.days - DAY) * 86_400 == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    "value", ["2021-02-30", "03/04/2021", "20210304", "2021-13-01", "2021-03-04 25:00", "x", "", 3, None, 4.5]
)
def test_no_dates(value: object) -> None:
    assert moment(value) is None


def test_other_forms() -> None:
    assert moment("04/03/2021", "%d/%m/%Y") == (DAY, False, False) == moment("03/04/2021", "%m/%d/%Y")
    assert moment("4.3.2021 06:00", "%d.%m.%Y %H:%M") == (DAY + 0.25, True, False)
    assert moment("2021-03-04", "%d/%m/%Y") is None
    assert all(map(unclear, ["03/04/2021", "3.4.21", "31-12-2021", "2021.03.04", "03/04/2021 12:30"]))
    assert not any(map(unclear, ["2021-03-04", "1/2", "3.5", "12:30"]))


@pytest.mark.parametrize("days", [0, 0.25, 2.5, 400, -0.25, -3, 1.000011574074074])
def test_durations_as_pandas_writes_them(days: float) -> None:
    as_pandas = pd.Timedelta(days=days)
    for value in (str(as_pandas), as_pandas, as_pandas.to_pytimedelta(), as_pandas.to_timedelta64()):
        assert duration(value) == pytest.approx(days, abs=1e-9)
    assert duration("12:30") is None and duration("3") is None and duration(np.timedelta64(1, "M")) is None
    assert duration(f"{400 * 86_400} days") == 400 * 86_400


@pytest.mark.parametrize("days", [DAY, DAY + 0.25, DAY + 7 / 8 / 86_400, -400.5])
@pytest.mark.parametrize("zoned", [False, True])
def test_dates_are_written_as_they_are_read(days: float, zoned: bool) -> None:
    text = written(days, timed=zoned or days % 1 > 0, zoned=zoned)
    assert zoned or text == np.datetime64(round(days * 86_400_000), "ms").item().isoformat().removesuffix(
        "T00:00:00"
    ).removesuffix("000")
    found = moment(text)
    assert found is not None and found.days == pytest.approx(days, abs=1e-9) and found.zoned == zoned
    assert datetime.fromisoformat(text).tzinfo == (UTC if zoned else None)
    assert written(DAY, timed=False, zoned=False, form="%d.%m.%y") == "04.03.21"
