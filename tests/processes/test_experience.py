"""Warnings about inputs and support sets far beyond those of training."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_table import PROCESSES, made

import quickstudy as qs
from quickstudy.data import Examples, Tasks

every_process = pytest.mark.parametrize("name", PROCESSES)


def trained(name: str) -> Any:
    """A process that has seen x in [-2, 2] and up to 10 support points."""
    process = made(name)
    chance = torch.Generator().manual_seed(0)
    for _ in range(2):
        process.observe(qs.tasks.GaussianProcess().sample(30, support=10, query=10, generator=chance))
    return process


def points(count: int, low: float, high: float) -> Examples:
    x = torch.linspace(low, high, count).view(1, count, 1)
    return Examples(x, x.sin())


@every_process
def test_far_outside_the_range_of_training(name: str) -> None:
    process = trained(name)
    predictor = process.adapt(points(5, -1, 1))
    predictor(torch.linspace(-2.1, 2.1, 5).view(1, 5, 1))  # within a tenth of the range: says nothing
    if getattr(process, "equivariant", False):
        predictor(torch.full((1, 1, 1), 9.0))
    else:
        with pytest.warns(
            RuntimeWarning, match=r"x is 9 at a point, and this \w+ was trained on values from -1.99\d to 1.99\d"
        ):
            predictor(torch.tensor([[[0.5], [9.0]]]))
        predictor(torch.full((1, 1, 1), 9.0))  # it is said once


@every_process
def test_a_support_set_far_larger_than_in_training(name: str) -> None:
    process = trained(name)
    x = torch.zeros(1, 1, 1)
    process.adapt(points(20, -1, 1))(x)
    with pytest.warns(RuntimeWarning, match="a task has 21 support points, and this .* trained on at most 10"):
        process.adapt(points(20, -1, 1)).append(points(1, 0.3, 0.4))(x)


def test_in_a_chain_the_points_before_count() -> None:
    predictor = trained("CNP").adapt(points(3, -1, 1))
    with pytest.warns(RuntimeWarning, match=r"21 support points, and .* at most 10 \(in `functions` and .* before a"):
        predictor.functions(1)(points(30, -1, 1).x)


def test_functions_of_latent_processes_warn_about_sizes() -> None:
    predictor = trained("NeuralProcess, both, ml").adapt(points(25, -1, 1))
    with pytest.warns(RuntimeWarning, match="25 support points"):
        predictor.functions(2)


@every_process
def test_a_support_set_far_outside(name: str) -> None:
    process = trained(name)
    support = points(5, -1, 1)
    with pytest.warns(RuntimeWarning, match=r"y is 100\.\d at a point, and this \w+ was trained on values from -"):
        process.adapt(support._replace(y=support.y + 100))
    process.encode(support._replace(y=support.y + 100))  # it is said once
    if not getattr(process, "equivariant", False):
        with pytest.warns(RuntimeWarning, match="x is 51 at a point"):
            process.append(process.encode(support), support._replace(x=support.x + 50))


def test_outcomes_that_are_missing_have_no_range() -> None:
    process = made("CNP, missing outputs")
    tasks = qs.tasks.GaussianProcess().sample(30, support=10, query=20)
    y = tasks.support.y.clone()
    y[:, ::2] = torch.nan
    process.observe(tasks._replace(support=tasks.support._replace(y=y)))
    assert all(end.isfinite().all() for ends in process.experience.ranges.values() for end in ends)


def test_an_untrained_process_and_one_that_saw_little_say_nothing() -> None:
    process = made("CNP")
    far = torch.full((1, 1, 1), 50.0)
    process.adapt(points(100, -1, 1))(far)
    process.observe(qs.tasks.GaussianProcess().sample(2, support=3, query=3))
    process.adapt(points(100, -1, 1))(far)


def test_padding_counts_nowhere() -> None:
    process = made("CNP")
    x = torch.linspace(5, 6, 60).view(1, 60, 1).repeat(20, 1, 1)
    mask = torch.ones(20, 60, dtype=torch.bool)
    mask[:, 50:] = False
    filled = Examples(torch.where(mask[..., None], x, torch.nan), x, mask)
    process.observe(Tasks(filled, filled))
    low, high = process.experience.ranges["x"]
    assert low.tolist() == [5.0] and torch.equal(high, x[0, 49])
    process.adapt(filled)(filled.clean().x)  # zeros in the padding lie outside, and are no points
    with pytest.warns(RuntimeWarning, match="x is 4"):
        process.adapt(filled)(torch.full((20, 1, 1), 4.0))


def test_each_feature_has_its_range() -> None:
    process = qs.CNP(dx=3)
    x = torch.rand(40, 30, 3) * torch.tensor([1.0, 10.0, 100.0])
    process.observe(Tasks(Examples(x, x[..., :1]), Examples(x, x[..., :1])))
    with pytest.warns(RuntimeWarning, match="feature 1 of x is 99"):
        process.adapt(Examples(x[:1], x[:1, :, :1]))(torch.tensor([[[0.5, 99.0, 99.0]]]))


def test_fit_observes_and_saves_what_it_trained_on(tmp_path: Path) -> None:
    process = qs.CNP(width=8)
    run = {"steps": 6, "tasks": 20, "support": (1, 7), "query": 10, "seed": 0}
    qs.fit(process, qs.tasks.GaussianProcess(), out=tmp_path / "run", **run, validation_tasks=4)
    assert process.experience.support <= 7 < 10 and process.experience.points > 1000
    loaded = qs.load(qs.save(process, tmp_path / "saved"))
    again = qs.load(tmp_path / "run", which="last")
    for one in (loaded, again):
        assert torch.equal(one.experience.get_extra_state(), process.experience.get_extra_state())
    with pytest.warns(RuntimeWarning, match="x is 9"):
        loaded.adapt(points(5, -1, 1))(torch.full((1, 1, 1), 9.0))


def test_a_state_of_an_earlier_version_loads() -> None:
    state = {k: v for k, v in made("TNP").state_dict().items() if "experience" not in k}
    process = trained("TNP")
    process.load_state_dict(state)
    assert process.experience.points == 0
    with pytest.raises(ValueError, match="range of training"):
        process.load_state_dict(state | {"experience._extra_state": torch.zeros(5)})


def test_evaluation_mode_records_nothing() -> None:
    process = made("CNP").eval()
    process.observe(qs.tasks.GaussianProcess().sample(30, support=10, query=30))
    assert process.experience.points == 0


def test_transforms_pass() -> None:
    process, tasks = made("CNP"), qs.tasks.GaussianProcess().sample(2, support=3, query=3)
    parameters = dict(process.named_parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = torch.func.grad(lambda p: torch.func.functional_call(process, p, (tasks,)))(parameters)
    assert set(found) == set(parameters)
