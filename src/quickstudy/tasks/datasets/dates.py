"""Dates, times and durations as numbers of days, and back."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)
_ISO = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
    r"(?:(?:[Tt]|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s*(Z|z|UTC|[+-]\d{2}(?::?\d{2})?)?)?"
)
_SPAN = re.compile(r"([+-]?\d+) days?(?:,? *([+-]?)(\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d+))?)?")
_LOOSE = re.compile(r"(\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|\d{4}\.\d{1,2}\.\d{1,2})([ T].*)?")


class Moment(NamedTuple):
    """A date or a point in time: days since 1970-01-01, whether it has a time of day, and whether it has a time zone.

    With a time zone, days are counted from 1970-01-01 00:00 UTC.
    """

    days: float
    timed: bool
    zoned: bool


def moment(value: Any, form: str | None = None) -> Moment | None:
    """A date or a point in time; None if the value is neither.

    Args:
        value: `datetime.date`, `datetime.datetime`, a Timestamp or Period of pandas, `numpy.datetime64`, or text that
            begins with the year, as ISO 8601 has it: 2021-03-04, 2021-03-04 16:30, 2021-03-04T16:30:00+01:00.
        form: what text looks like in place of ISO 8601, as of `datetime.strptime`: "%d/%m/%Y".

    >>> moment("1970-01-02 12:00"), moment("03/01/1970"), moment("03/01/1970", "%d/%m/%Y")
    (Moment(days=1.5, timed=True, zoned=False), None, Moment(days=2.0, timed=False, zoned=False))
    """
    if isinstance(value, np.datetime64):
        timed = np.datetime_data(value.dtype)[0] not in ("Y", "M", "W", "D")
        return Moment(float(value.astype("datetime64[us]").astype(np.int64)) / 86_400e6, timed, False)
    if type(value).__name__ == "Period":
        value = value.to_timestamp()
    if isinstance(value, datetime):
        return _of(value, value.time().isoformat() != "00:00:00")
    if isinstance(value, date):
        return Moment(float((value - _EPOCH.date()).days), False, False)
    if not isinstance(value, str):
        return None
    return _iso(value.strip()) if form is None else _formed(value.strip(), form)


def duration(value: Any) -> float | None:
    """A length of time in days; None if the value is none.

    Args:
        value: `datetime.timedelta`, a Timedelta of pandas, `numpy.timedelta64`, or text as pandas writes it:
            "2 days 06:00:00".

    >>> duration("2 days 06:00:00"), duration("-1 days +12:00:00")
    (2.25, -0.5)
    """
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s")) / 86_400 if np.datetime_data(value.dtype)[0] not in "YM" else None
    if isinstance(value, timedelta):
        return value / _DAY
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    days, sign, hours, minutes, seconds, part = found.groups()
    rest = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0) + float(f"0.{part or 0}")
    back = sign == "-" or (days.startswith("-") and sign != "+")
    return int(days) + (-rest if back else rest) / 86_400


def unclear(text: str) -> bool:
    """Whether text looks like a date that does not begin with the year, or is divided by points.

    >>> unclear("03/04/2021"), unclear("2021-04-03")
    (True, False)
    """
    return _LOOSE.fullmatch(text.strip()) is not None


def written(days: float, *, timed: bool, zoned: bool, form: str | None = None) -> str:
    """A number of days since 1970-01-01 as a date, to the millisecond.

    >>> written(1.5, timed=True, zoned=False), written(2.0, timed=False, zoned=False, form="%d/%m/%Y")
    ('1970-01-02T12:00:00', '03/01/1970')
    """
    at = _EPOCH + timedelta(milliseconds=round(days * 86_400_000))
    if form is not None:
        return at.strftime(form)
    if not timed and at.time() == _EPOCH.time():
        return at.date().isoformat()
    text = at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")
    return f"{text}+00:00" if zoned else text


def _of(at: datetime, timed: bool) -> Moment:
    zoned = at.tzinfo is not None
    plain = at.astimezone(UTC).replace(tzinfo=None) if zoned else at
    return Moment((plain - _EPOCH) / _DAY, timed or zoned, zoned)


def _iso(text: str) -> Moment | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, _, month, day, hour, minute, second, part, zone = found.groups()
    zone = "+00:00" if zone in ("Z", "z", "UTC") else zone
    micro = round(float(f"0.{part or 0}") * 1e6)
    try:
        at = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
        at += timedelta(microseconds=micro)
        if zone:
            at = at.replace(tzinfo=datetime.strptime(zone if len(zone) > 3 else f"{zone}00", "%z").tzinfo)
    except ValueError:  # the 30th of February
        return None
    return _of(at, hour is not None)


def _formed(text: str, form: str) -> Moment | None:
    try:
        return _of(datetime.strptime(text, form), any(f"%{letter}" in form for letter in "HIMSfXcp"))
    except ValueError:
        return None
