"""The learners that come with the package: each loads by its name, and predicts as well as its record says."""

from pathlib import Path

import pytest
import torch

import quickstudy as qs
from quickstudy.runs.reading import CheckpointError
from quickstudy.runs.shipped import WEIGHTS, shipped_names
from quickstudy.tasks.typed_digits import typed_digits

LARGEST = 6e6  # bytes of all of them


def test_they_are_small() -> None:
    assert shipped_names()
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*")) < LARGEST


def test_a_transformer_on_gaussian_processes() -> None:
    tasks = qs.tasks.GaussianProcess().sample(200, support=20, query=20, generator=torch.Generator().manual_seed(7))
    learner = qs.load("tnp/rbf")
    found = learner.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y).mean()
    oracle = tasks.info["oracle_log_prob"].mean()
    assert oracle - 0.25 < found < oracle
    assert learner.experience.support == 46 and not learner.training


def test_two_processes_complete_digits() -> None:
    """Better than one that knows which pixels are often white, and closer still where more pixels are seen."""
    found = typed_digits(300, seed=5)
    family = qs.tasks.Images(found.images, levels=found.levels)
    average = family.intensities(family.splits["train"]).mean(0).expand(40, -1, -1)
    for name, least in (("grid-conv-cnp/digits", 1.5), ("np/digits", 0.3)):
        errors = []
        for seen in (20, 80):
            tasks = family.sample(40, support=seen, query=100, split="test", generator=torch.Generator().manual_seed(1))
            learner = qs.load(name)
            belief = learner.adapt(tasks.support, generator=torch.Generator().manual_seed(0))(tasks.query.x)
            assert belief.log_prob(tasks.query.y).mean() > least, name
            index = ((tasks.query.x + 1) * 7.5).round().long()
            known = average.gather(1, (16 * index[..., 0] + index[..., 1]).unsqueeze(2))
            errors.append(float((belief.mean - tasks.query.y).square().mean()))
            assert errors[-1] < float((known - tasks.query.y).square().mean()), name
        assert errors[1] < errors[0] and learner.experience.support == 253 and not learner.training


def test_a_folder_of_the_same_name_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tnp").mkdir()
    qs.save(qs.CNP(width=8), tmp_path / "tnp" / "rbf")
    assert type(qs.load("tnp/rbf")) is qs.CNP


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at tnp/rfb; .*that comes with the package: .*tnp/rbf"):
        qs.load("tnp/rfb")


def test_a_folder_that_hides_a_learner_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tnp" / "rbf").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="tnp/rbf.*; a folder of this name hides the learner tnp/rbf that comes"):
        qs.load("tnp/rbf")
