"""Records of a run as a pandas data frame. pandas is an extra and is imported only when a frame is made."""

from collections.abc import Mapping, Sequence
from typing import Any

from quickstudy.extras import missing_package


def to_frame(rows: Sequence[Mapping[str, Any]], asked: str) -> Any:
    """A `pandas.DataFrame` with a row for each of `rows`; missing values are NaN.

    Args:
        rows: records with the same kind of keys.
        asked: the call that the user made, for the message.

    Raises:
        ModuleNotFoundError: if pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise missing_package("pandas", "pandas", f"{asked} needs pandas") from error
    return pandas.DataFrame([dict(row) for row in rows])
