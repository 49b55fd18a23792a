"""The record of the Hudson's Bay Company: hares and lynxes, 1845 to 1935, from the package astsa."""

import csv
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.data import Examples, Tasks
from quickstudy.extras import missing_package

SPECIES = ("Hare", "Lynx")


def hares_and_lynxes() -> tuple[Tensor, Tensor]:
    """The years `[91]`, and the numbers of both species in thousands `[91, 2]`.

    The package is only read, not imported: it has the series as CSV files with the columns Time and Value.

    Raises:
        ModuleNotFoundError: if astsa is not installed.
        ValueError: if the series are not of the same years.
    """
    spec = find_spec("astsa")
    if spec is None or not spec.submodule_search_locations:
        raise missing_package("astsa", "hares", "the record of hares and lynxes is part of the package astsa")
    room = Path(spec.submodule_search_locations[0]) / "data" / "csv"
    series = []
    for name in SPECIES:
        with (room / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            series.append({int(row["Time"]): float(row["Value"]) for row in csv.DictReader(file)})
    if series[0].keys() != series[1].keys():
        raise ValueError(f"{room}: {' and '.join(SPECIES)} are not of the same years")
    years = sorted(series[0])
    return torch.tensor(years), torch.tensor([[one[year] for one in series] for year in years])


def interpolation(number: int, support: int, seed: int) -> Tasks:
    """The record `number` times, each with other `support` years seen and all others to be predicted.

    x is the time in years since the first year; y is in thousands.
    """
    years, y = hares_and_lynxes()
    x = (years - years[0]).to(y).unsqueeze(1)
    order = torch.rand(number, len(x), generator=torch.Generator().manual_seed(seed)).argsort(1)
    given, asked = order[:, :support], order[:, support:]
    return Tasks(Examples(x[given], y[given]), Examples(x[asked], y[asked]), {})


def forecasting(first: int, last: int) -> list[Tasks]:
    """For each number of years from `first` to `last`: the record until then as support, and the rest as query."""
    years, y = hares_and_lynxes()
    x = (years - years[0]).to(y).unsqueeze(1)
    return [
        Tasks(Examples(x[None, :n], y[None, :n]), Examples(x[None, n:], y[None, n:]), {})
        for n in range(first, last + 1)
    ]
