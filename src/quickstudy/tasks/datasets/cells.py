"""Cells of a table: which of them are missing, which are numbers, and what to do about the others."""

import math
import re
from datetime import date, time, timedelta
from numbers import Complex, Real
from typing import Any

_MISSING = {"", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none"}
_DATES = ("Timestamp", "Timedelta", "Period", "datetime64", "timedelta64", "NaTType")
_NUMBER = r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?"
_SWITCH, _ABSENT = "write 1 and 0", "if the value is missing, leave the cell empty"
_OTHERWISE = "choose numeric columns, or write the categories as numbers"
_DAY = "write it as a number, such as days since the first measurement"
_ADVICE: tuple[tuple[str, str], ...] = (
    (r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([ T].*)?", f"a date: {_DAY}"),
    (r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[aApP][mM])?", "a time of day: write it as a number, such as hours"),
    (r"[+-]?\d{1,3}(,\d{3})*,\d{3}\.\d+", "remove the commas that separate thousands"),
    (r"[+-]?\d{1,3}(\.\d{3})+,\d+", "remove the points that separate thousands, and write a point for the comma"),
    (r"[+-]?\d{1,3}(,\d{3}){2,}", "remove the commas that separate thousands"),
    (r"[+-]?\d{1,3}([ \u00a0\u202f'_]\d{3})+([.,]\d+)?", "remove what separates thousands"),
    (r"[+-]?\d{1,3}(\.\d{3}){2,}", "remove the points that separate thousands"),
    (r"[+-]?\d*,\d+([eE][+-]?\d+)?", "if the comma is a decimal comma, give decimal=','; otherwise remove it"),
    (r"[\u2212\u2012\u2013\u2014]\s*[\d.,].*", "write the minus sign as -"),
    (_NUMBER + r"\s*%", "remove the percent signs"),
    (r"[<>\u2264\u2265]=?\s*" + _NUMBER + ".*", "a limit of detection: write a number, or leave the cell empty"),
    (r"[$\u20ac\u00a3\u00a5]\s*" + _NUMBER, "remove the currency signs"),
    (_NUMBER + r"\s*(±|\+/-).*", "write the value alone, and its error in a column of its own"),
    (r"\d+/\d+", "write the fraction as a decimal number"),
    (r"0[xX][\dA-Fa-f]+", "write it as a decimal number"),
    (r"['\u2018\u2019`]" + _NUMBER, "remove the apostrophe, which makes it text"),
    (_NUMBER + r"\s*[^\d\s].*", "write the number alone, and put its unit into the name of the column"),
    (r"(?i:true|false|yes|no|t|f|y|n)", _SWITCH),
    (r"(?i:\.+|-+|\?+|x|missing|unknown|n\.a\.|nd|n\.d\.|#[A-Z0-9/]+[!?]?)", _ABSENT),
    (r"=.*", "a formula: save its value"),
)
_OF_WORDS = (_SWITCH, _ABSENT, _OTHERWISE)


def is_missing(value: Any) -> bool:
    """True for None, NaN of any type, pandas' NA and NaT, masked values, and the usual words for a missing value."""
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    if value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    try:
        return bool(value != value)  # only NaN differs from itself
    except ArithmeticError:  # a signalling NaN of Decimal
        return True
    except (TypeError, ValueError, RuntimeError):
        return False


def is_unnamed(value: Any) -> bool:
    """True for a missing name of a group: empty text, or a missing value that is no text.

    A word such as "NA" may be a name, as it is the code of Namibia.
    """
    return not value.strip() if isinstance(value, str) else is_missing(value)


def sounds_missing(value: Any) -> bool:
    """True for a name that is also a usual word for a missing value, such as "NA"."""
    return isinstance(value, str) and bool(value.strip()) and is_missing(value)


def number(value: Any) -> float:
    """The value as a finite float.

    Raises:
        ValueError: if it is none; the message says what to do.

    >>> number(" 2e3 "), number(True)
    (2000.0, 1.0)
    """
    found = _as_float(value)
    if found is None:
        raise ValueError(f"which is not a number; {advice(value)}")
    if not math.isfinite(found):
        raise ValueError("which is not a finite number; correct or remove the row")
    return found


def is_number(value: Any) -> bool:
    """Whether a value can be read as a number, which may be infinite."""
    return _as_float(value) is not None


def is_word(text: str) -> bool:
    """Whether text may be the name of a category: neither a number, nor like one, nor an error of a spreadsheet.

    >>> is_word("placebo"), is_word("yes"), is_word("3.5 mg"), is_word("#DIV/0!")
    (True, True, False, False)
    """
    return advice(text) in _OF_WORDS and text.strip()[:1] not in ("#", "=")


def advice(value: Any) -> str:
    """What to do about a value that is not a number.

    >>> advice("12 %"), advice("3.5 mg")
    ('remove the percent signs', 'write the number alone, and put its unit into the name of the column')
    """
    if isinstance(value, date | time | timedelta) or type(value).__name__ in _DATES:
        return f"a date or time: {_DAY}"
    if isinstance(value, Complex) and not isinstance(value, Real):
        return "a complex number: write its real and imaginary part in columns of their own"
    if isinstance(value, str):
        text = value.strip()
        return next((what for pattern, what in _ADVICE if re.fullmatch(pattern, text, re.DOTALL)), _OTHERWISE)
    return _OTHERWISE


def first_row_hint(value: Any, row: int) -> str:
    """What to add to a message about a word in place of a number, if it is in the first row."""
    word = row == 0 and isinstance(value, str) and not any(map(str.isdecimal, value))
    return "; if this row holds units, or is a second header, remove it" if word else ""


def shown(value: Any) -> str:
    """A value as an error message shows it, on one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"


def _as_float(value: Any) -> float | None:
    """The value as a float, which may be infinite; None if it is not a real number."""
    if isinstance(value, str):
        if "_" in value:  # Python reads 1_000 as a number; a table does not
            return None
    elif type(value).__name__ in _DATES or (isinstance(value, Complex) and not isinstance(value, Real)):
        return None  # float() would give nanoseconds, or drop the imaginary part
    elif getattr(value, "shape", ()) != ():
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):
        return None
