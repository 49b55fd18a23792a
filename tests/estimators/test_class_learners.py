"""Learners of labels: the contract, closed forms of others, and what they save."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

import quickstudy as qs
from quickstudy.data import Examples, Tasks
from quickstudy.estimators.classes.class_curve import ClassCurve
from quickstudy.estimators.classes.class_shares import ClassShares
from quickstudy.estimators.classes.class_trees import ClassTrees
from quickstudy.estimators.classes.on_class_curve import OnClassCurve
from quickstudy.estimators.classes.scaled_inputs import ScaledInputs
from quickstudy.tasks.datasets.scaling import Scaling
from quickstudy.testing import check_learner


class Answered:
    """A family of tasks with two classes and an intercept of each task."""

    def sample(self, num_tasks: int, *, support: int, query: int, split: str = "train", generator: Any = None) -> Tasks:
        device = "cpu" if generator is None else generator.device
        x = torch.randn(num_tasks, support + query, 1, generator=generator, device=device)
        logit = 2 * torch.randn(num_tasks, 1, generator=generator, device=device) + x[..., 0]
        chance = torch.rand(logit.shape, generator=generator, device=device)
        y = (chance < logit.sigmoid()).long()
        return Tasks(Examples(x[:, :support], y[:, :support]), Examples(x[:, support:], y[:, support:]))


SCALING = Scaling(("x",), (), torch.tensor([0.5]).double(), torch.tensor([2.0]).double()).to_json()
HEAD = qs.heads.CategoricalHead(2)
LEARNERS: dict[str, Any] = {
    "ClassShares": lambda: ClassShares(2),
    "ClassCurve": lambda: ClassCurve(2),
    "OnClassCurve": lambda: OnClassCurve(qs.CNP(3, width=16, head=HEAD), ClassCurve(2)),
    "ScaledInputs": lambda: ScaledInputs(qs.CNP(width=16, head=HEAD), SCALING),
}
EXCEPTIONS = {
    "ClassCurve": {"create graph reaches the parameters", "training beats the prior"},  # it never adapts
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_of_labels_keep_the_contract(name: str) -> None:
    report = check_learner(LEARNERS[name], family=Answered(), raises=False, training_steps=60)
    assert {row.property for row in report.failures} <= EXCEPTIONS.get(name, set()), str(report)


def groups(tasks: int = 40, rows: int = 8, seed: int = 1) -> Examples:
    return Answered().sample(tasks, support=rows, query=1, generator=torch.Generator().manual_seed(seed)).support


def test_shares_are_the_posterior_of_the_likeliest_dirichlet() -> None:
    """Against scipy's Dirichlet-multinomial distribution: no other parameters explain the counts better."""
    chance = np.random.default_rng(0)
    shares = chance.dirichlet([2.0, 0.5, 1.0], size=300)
    labels = np.array([chance.choice(3, 6, p=p) for p in shares])
    model = ClassShares(3).double().fit(Examples(torch.zeros(300, 6, 1), torch.from_numpy(labels)))
    counts = np.array([[(row == k).sum() for k in range(3)] for row in labels])
    found = model.log_counts.exp().detach().numpy()
    best = stats.dirichlet_multinomial.logpmf(counts, found, 6).sum()
    for k in range(3):
        for factor in (0.97, 1.03):
            other = found * np.where(np.arange(3) == k, factor, 1.0)
            assert stats.dirichlet_multinomial.logpmf(counts, other, 6).sum() < best + 1e-3
    np.testing.assert_allclose(found, [2.0, 0.5, 1.0], rtol=0.3)
    seen = Examples(torch.zeros(1, 3, 1).double(), torch.tensor([[1, 1, 2]]))
    probs = model.adapt(seen)(torch.zeros(1, 1, 1).double()).probs[0, 0].detach()
    np.testing.assert_allclose(probs, (found + np.array([0, 2, 1])) / (found.sum() + 3), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_curve_is_logistic_regression(classes: int) -> None:
    """With two inputs it is scikit-learn's, with the same penalty."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(60, 5, 2))
    y = (x[..., 0] + chance.normal(size=(60, 5)) > 0).astype(int) + (classes > 2) * (x[..., 1] > 0.5)
    model = ClassCurve(classes, 2).double().fit(Examples(torch.from_numpy(x), torch.from_numpy(y)))
    flat = (x.reshape(-1, 2) - x.reshape(-1, 2).mean(0)) / x.reshape(-1, 2).std(0)
    # of two classes, the difference of the two coefficients has half their penalty
    other = LogisticRegression(C=2.0 if classes == 2 else 1.0, tol=1e-8).fit(flat, y.ravel())
    at = torch.from_numpy(x.reshape(1, -1, 2))
    nothing = Examples(at[:, :0], torch.zeros(1, 0, dtype=torch.long))
    np.testing.assert_allclose(model.adapt(nothing)(at).probs[0].detach(), other.predict_proba(flat), atol=2e-3)


def test_trees_use_what_is_seen_and_are_calibrated() -> None:
    model = ClassTrees(2).fit(groups(150, rows=16))
    new = Answered().sample(400, support=8, query=8, generator=torch.Generator().manual_seed(5))
    score = {}
    for seen in (0, 8):
        belief = model.adapt(new.support.first(seen))(new.query.x)
        score[seen] = belief.log_prob(new.query.y).mean().item()
    assert score[8] > score[0] + 0.1
    right = (belief.probs.argmax(2) == new.query.y).float().mean().item()
    assert abs(belief.probs.amax(2).mean().item() - right) < 0.04
    grown = model.adapt(new.support.first(3)).append(Examples(new.support.x[:, 3:], new.support.y[:, 3:]))
    assert torch.equal(grown(new.query.x).logits, belief.logits)


def test_a_class_that_never_occurs_keeps_a_small_probability() -> None:
    given = groups(30)
    for model in (ClassTrees(3, rounds=5), ClassShares(3), ClassCurve(3)):
        belief = model.fit(given).adapt(given)(given.x)
        probs = belief.probs.detach()
        assert probs.isfinite().all() and 0 < probs[..., 2].max() < 0.05
    only = Examples(given.x, torch.zeros_like(given.y))
    assert ClassTrees(2, rounds=5).fit(only).adapt(only)(only.x).probs[..., 0].min() > 0.98


def test_padding_changes_nothing() -> None:
    given = groups(20)
    mask = torch.ones(20, 8, dtype=torch.bool)
    mask[:, 5:] = False
    filled = Examples(given.x.masked_fill(~mask[..., None], torch.nan), given.y.masked_fill(~mask, 1), mask)
    short = given.first(5)
    for model in (ClassShares(2), ClassCurve(2)):
        first = model.fit(filled).adapt(filled)(given.x).logits
        torch.testing.assert_close(model.fit(short).adapt(short)(given.x).logits, first, rtol=1e-4, atol=1e-5)
    trees = ClassTrees(2, rounds=5).fit(filled)
    torch.testing.assert_close(trees.adapt(short)(given.x).logits, trees.adapt(filled)(given.x).logits)


def test_round_trip(tmp_path: Path) -> None:
    given = groups(20)
    fitted = {
        "trees": ClassTrees(3, rounds=4).fit(given),
        "shares": ClassShares(3).fit(given),
        "process": OnClassCurve(qs.CNP(3, width=8, head=HEAD), ClassCurve(2).fit(given)),
    }
    for name, learner in fitted.items():
        wrapped = ScaledInputs(learner, SCALING).double().eval()
        qs.save(wrapped, tmp_path / name)
        x = given.x.double()
        seen = given._replace(x=x)
        assert torch.equal(qs.load(tmp_path / name).adapt(seen)(x).logits, wrapped.adapt(seen)(x).logits)
