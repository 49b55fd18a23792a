"""Mixtures of families: each task is a task of its family."""

from typing import Any

import pytest
import torch

from quickstudy.tasks import GaussianProcess, Harmonic, Mixture, Pendulum, Sawtooth, Sinusoid, Steps


def test_each_family_has_its_share(generator: torch.Generator) -> None:
    kinds = Mixture.bruinsma2023().sample(4000, support=0, query=1, generator=generator).info["family"]
    shares = kinds.bincount(minlength=4) / 4000
    assert float((shares - 0.25).abs().max()) < 0.03  # 4 standard errors


def test_a_task_is_one_of_its_family(generator: torch.Generator) -> None:
    """Families whose outputs lie in different intervals, so that each point tells where it comes from."""
    family = Mixture((Sawtooth(), Steps(level=(5.0, 6.0)), Sinusoid(amplitude=0.1, noise=0.0)))
    tasks = family.sample(60, support=4, query=5, generator=generator)
    bounds = torch.tensor([[0.0, 1.0], [5.0, 6.0], [-0.1, 0.1]])[tasks.info["family"]]
    for points in (tasks.support, tasks.query):
        y = points.y.squeeze(2)
        assert bool((y >= bounds[:, :1] - 1e-6).all() and (y <= bounds[:, 1:] + 1e-6).all())
    assert set(tasks.info) == {"family"}  # no other value is known of all tasks


def test_what_all_families_know_is_kept(generator: torch.Generator) -> None:
    family = Mixture((GaussianProcess(scale=1.0), GaussianProcess("matern52", scale=2.0)))
    tasks = family.sample(40, support=3, query=4, generator=generator, grid=True)
    assert torch.equal(tasks.info["scale"], tasks.info["family"] + 1.0)
    assert tasks.info["oracle_log_prob"].shape == (40, 4)


@pytest.mark.parametrize(
    ("families", "match"),
    [
        ((Sinusoid(),), "has 1 entries; expected at least two"),
        ((Sinusoid(), Pendulum(with_velocity=True)), r"\[\(1, 1\), \(1, 2\)\]; expected the same"),
        ((Harmonic(), Sawtooth(dx=2)), "different sizes"),
    ],
)
def test_bad_families(families, match) -> None:
    with pytest.raises(ValueError, match=match):
        Mixture(families)


def test_info_has_the_same_keys_in_every_batch() -> None:
    family = Mixture((GaussianProcess(), Sawtooth()))
    keys = {
        frozenset(family.sample(1, support=2, query=2, generator=torch.Generator().manual_seed(s)).info)
        for s in range(20)
    }
    assert len(keys) == 1
    assert "oracle_log_prob" not in next(iter(keys))  # which the sawtooth has not


@pytest.mark.parametrize("families", [Sinusoid(), [Sinusoid, Sawtooth], ["a", "b"]])
def test_what_is_no_family_is_named(families: Any) -> None:
    with pytest.raises(TypeError, match="expected|make one"):
        Mixture(families)
