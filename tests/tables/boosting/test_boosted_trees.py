"""Boosted trees equal scikit-learn's, read only the seen rows, and survive saving."""

from pathlib import Path

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.tables.boosting.boosted_trees import BoostedTrees
from quickstudy.tables.boosting.seen_rows import NAMES, features
from quickstudy.tables.boosting.trees import Trees


def test_trees_equal_those_of_scikit_learn_also_where_features_are_missing() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    chance = np.random.default_rng(0)
    x = chance.normal(size=(300, 4))
    x[chance.random(x.shape) < 0.2] = np.nan
    y = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) ** 2
    model = ensemble.HistGradientBoostingRegressor(max_iter=20, max_leaf_nodes=7).fit(x, y)
    new = chance.normal(size=(200, 4))
    new[chance.random(new.shape) < 0.2] = np.nan
    found = Trees.of(model, x)(torch.from_numpy(new))
    np.testing.assert_allclose(found.numpy(), model.predict(new), rtol=1e-9)


def test_statistics_of_seen_rows_are_their_definitions() -> None:
    torch.manual_seed(0)
    x, y, at = torch.randn(5, 6, 2).double(), torch.randn(5, 6).double(), torch.randn(5, 3, 2).double()
    sizes = [6, 3, 2, 1, 0]
    real = torch.arange(6) < torch.tensor(sizes)[:, None]
    found = features(x.where(real[..., None], torch.nan).nan_to_num(7.0), y.where(real, 9.0), real, at)
    for t, n in enumerate(sizes):
        own_x, own_y = x[t, :n], y[t, :n]
        for m in range(3):
            row = dict(zip(NAMES, found[t, m, 2:].tolist(), strict=True))
            assert row["number"] == n and torch.equal(found[t, m, :2], at[t, m])
            if n == 0:
                assert all(np.isnan(value) for name, value in row.items() if name != "number")
                continue
            order, gaps = own_x[:, 0].argsort(), (own_x - at[t, m]).norm(dim=1)
            expected = {
                "mean": own_y.mean(),
                "spread": own_y.std(correction=0),
                "first": own_y[order[0]],
                "last": own_y[order[-1]],
                "nearest": own_y[gaps.argmin()],
                "distance": gaps.min(),
            }
            for name, value in expected.items():
                assert row[name] == pytest.approx(float(value)), name
            if n > 1:
                slope, intercept = np.polyfit(own_x[:, 0].numpy(), own_y.numpy(), 1)
                assert row["slope"] == pytest.approx(slope)
                assert row["line"] == pytest.approx(intercept + slope * float(at[t, m, 0]))
            else:
                assert np.isnan(row["slope"]) and np.isnan(row["line"])


@pytest.fixture(scope="module")
def trained() -> BoostedTrees:
    pytest.importorskip("sklearn")
    tasks = qs.tasks.Sinusoid().sample(300, support=5, query=5, generator=torch.Generator().manual_seed(0))
    return BoostedTrees(rounds=30, draws=4).fit(tasks)


def test_more_rows_help_and_padding_changes_nothing(trained: BoostedTrees) -> None:
    tasks = qs.tasks.Sinusoid().sample(200, support=8, query=5, generator=torch.Generator().manual_seed(1))
    errors, spreads = [], []
    for n in (0, 2, 8):
        belief = trained.adapt(tasks.support.first(n))(tasks.query.x)
        errors.append(float((belief.mean - tasks.query.y).square().mean()))
        spreads.append(float(belief.variance.mean()))
    assert errors[0] > errors[1] > errors[2] and spreads[0] > spreads[2]
    assert 0.5 < errors[1] / spreads[1] < 2  # groups that were not seen in training
    mask = torch.arange(8).expand(200, -1) < 2
    dirty = Examples(tasks.support.x, tasks.support.y.where(mask[..., None], torch.nan), mask)
    torch.testing.assert_close(
        trained.adapt(dirty)(tasks.query.x).mean, trained.adapt(tasks.support.first(2))(tasks.query.x).mean
    )
    later = trained.adapt(tasks.support.first(2)).append(Examples(tasks.support.x[:, 2:], tasks.support.y[:, 2:]))
    torch.testing.assert_close(later(tasks.query.x).mean, trained.adapt(tasks.support)(tasks.query.x).mean)
    prior = trained.adapt(tasks.support, steps=0)(tasks.query.x)
    torch.testing.assert_close(prior.mean, trained.adapt(tasks.support.first(0))(tasks.query.x).mean)


def test_they_are_saved_without_pickle(trained: BoostedTrees, tmp_path: Path) -> None:
    qs.save(trained, tmp_path / "trees")
    support, x = Examples(torch.randn(2, 3, 1), torch.randn(2, 3, 1)), torch.randn(2, 4, 1)
    found = qs.load(tmp_path / "trees")
    torch.testing.assert_close(found.adapt(support)(x).mean, trained.adapt(support)(x).mean)
    with pytest.raises(NotImplementedError, match="not trained by gradients"):
        found.meta_loss(None)
