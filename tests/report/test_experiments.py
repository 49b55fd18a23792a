"""Which runs stand in one table, and what they are called there."""

import json
from pathlib import Path
from typing import Any

import pytest

from quickstudy.report.experiments import experiments, families, result_tables, without_informed
from quickstudy.report.runs import read_run

WAVES = "Sinusoid(amplitude=(0.1, 5.0), noise=0.0)"
CART = "CartPole(masscart=(0.1, 3.0), num_envs={}, horizon=500)"


def make(folder: Path, family: str | None, *, recipe: str = "", error: float = 1.0, **options: Any) -> Path:
    """A run that was measured."""
    folder.mkdir(parents=True)
    config = {"recipe": recipe or None, "family": family, "learner": {"class": "MAML"}, "options": options}
    (folder / "config.json").write_text(json.dumps(config))
    metrics = {"mse/k=5": {"mean": error, "ci95": 0.1, "n": 9, "over": "tasks"}}
    (folder / "result.json").write_text(json.dumps({"metrics": metrics}))
    return folder


@pytest.mark.parametrize(
    ("family", "inner"),
    [
        (WAVES, WAVES),
        (f"Informed(family={WAVES}, keys=('amplitude', 'phase'))", WAVES),
        ("Informed(Navigation2D(goals=(-0.5, 0.5)), ('goal',))", "Navigation2D(goals=(-0.5, 0.5))"),
    ],
)
def test_being_told_of_the_task_changes_no_task(family: str, inner: str) -> None:
    assert without_informed(family) == inner


def test_runs_on_the_same_tasks_belong_together(tmp_path: Path) -> None:
    runs = [
        make(tmp_path / "maml", WAVES, recipe="sinusoid-maml"),
        make(tmp_path / "cart", CART.format(1), recipe="cartpole-np", horizon=200),
        make(tmp_path / "np", WAVES, recipe="sinusoid-np"),
        make(tmp_path / "told", f"Informed(family={WAVES}, keys=('amplitude',))", recipe="sinusoid-oracle"),
        make(tmp_path / "more carts", CART.format(20), recipe="cartpole-np", horizon=200),
        make(tmp_path / "longer", CART.format(1), recipe="cartpole-np", horizon=500),
    ]
    found = experiments([read_run(run) for run in runs])
    assert [[run.name for run in each.runs] for each in found] == [
        ["maml", "np", "told"],
        ["cart", "more carts"],
        ["longer"],
    ]
    assert [each.title for each in found] == ["Sinusoid: 3 runs", "CartPole: 2 runs", "longer"]


def test_parts_tell_the_tasks_of_a_run_without_a_family(tmp_path: Path) -> None:
    run = make(tmp_path / "demo", None, recipe="demo")
    make(run / "maml", WAVES)
    make(run / "oracle", f"Informed(family={WAVES}, keys=('amplitude',))")
    assert families(read_run(run)) == (WAVES,)


def test_other_data_is_another_experiment(tmp_path: Path) -> None:
    table = "Table(task='g', x=['a'], y=['b'], groups=9, rows=90, split=5/1/3, points=PointSets(tasks=9, data='0f'))"
    other = table.replace("5/1/3", "4/2/3").replace("0f", "1a")  # another fold: scaled by other groups
    one, fold, elsewhere = (
        make(tmp_path / name, family, recipe="table", data=data)
        for name, family, data in (("one", table, "a.csv"), ("fold", other, "a.csv"), ("elsewhere", table, "b.csv"))
    )
    assert len(experiments([read_run(run) for run in (one, fold, elsewhere)])) == 2


def test_tables_of_folders(tmp_path: Path) -> None:
    one = make(tmp_path / "one", WAVES, recipe="sinusoid-maml")
    told = make(tmp_path / "told", WAVES, recipe="sinusoid-oracle", error=0.1)
    assert [table.rows for table in result_tables(one)] == [[["this learner", "1.00 ± 0.10"]]]
    (table,) = result_tables(one, told)
    assert [row[0] for row in table.rows] == ["one", "told, told the task"]
    assert not table.best  # an oracle is nobody's rival, and one alone is not the best


def test_runs_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", WAVES), make(tmp_path / "other", CART)
    with pytest.raises(ValueError, match=r"different tasks: .*one \| .*other"):
        result_tables(one, other)
    with pytest.raises(ValueError, match="named twice"):
        result_tables(one, one)
    with pytest.raises(ValueError, match="given no run"):
        result_tables()
