"""Weights and widths of a mixture of learners: they maximise what they are said to maximise."""

import pytest
import torch
from torch import Tensor

from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.tables.calibrated import PRIOR, factors
from quickstudy.tables.judging import Judged
from quickstudy.tables.mixing import MOST_ROWS, mixing, stacking, stacking_weights


def log_normal(y: Tensor, mean: Tensor | float, sd: Tensor | float) -> Tensor:
    sd = torch.as_tensor(sd).double()
    return -((y - mean) / sd).square() / 2 - sd.log() - LOG_2PI / 2


def judged(errors: Tensor, sd: float) -> Judged:
    """Scores of normal beliefs with these errors `[T, M, K]` and standard deviation."""
    errors = errors.double()
    rows = log_normal(errors, 0.0, sd)
    squares, real = (errors / sd).square().unsqueeze(3), torch.ones(errors.shape[:2], dtype=torch.bool)
    inside = torch.stack([((errors / sd).abs() < z).double().mean(1) for z in (0.6745, 1.6449)], 2)
    return Judged(
        errors.square().mean(1, keepdim=False).unsqueeze(2), rows.mean(1), rows.mean(1), inside, rows, squares, real
    )


def test_weights_maximise_the_score() -> None:
    torch.manual_seed(0)
    densities, shares = torch.randn(2, 60).double(), torch.full((60,), 0.5).double()
    prior = torch.tensor([0.3, 0.6]).double()
    found = stacking_weights(densities, shares, prior, rounds=2000)

    def score(w: torch.Tensor) -> torch.Tensor:
        both = torch.stack([w, 1 - w])
        mixed = (densities[:, None] + both.log()[:, :, None]).logsumexp(0)
        return (mixed * shares).sum(1) + (prior[:, None] * both.log()).sum(0)

    grid = torch.linspace(0.001, 0.999, 999).double()
    assert float(found[0]) == pytest.approx(float(grid[score(grid).argmax()]), abs=2e-3)
    impossible = torch.tensor([[0.0, 0.0], [-torch.inf, 0.0]])
    assert stacking_weights(impossible, torch.ones(2) * 100, prior)[0] > 0.9


def test_weights_and_widths_maximise_the_score() -> None:
    """A stationary point of the penalised score, by automatic differentiation of the mixture of normal beliefs."""
    chance = torch.Generator().manual_seed(0)
    y = torch.randn(60, generator=chance).double()
    means = torch.randn(3, 60, generator=chance).double()
    shares = torch.full((60,), 0.25).double()
    prior, own = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([[1.2], [1.6], [0.8]]).double()
    densities = log_normal(y, means, 1.0)
    squares = (y - means).square().unsqueeze(2)
    weights, widths = stacking(densities, squares, shares, prior, own, rounds=5000)

    logits = weights.log().requires_grad_()
    log_widths = widths.log().requires_grad_()
    w, c = logits.log_softmax(0), log_widths.exp()
    score = (shares * (w[:, None] + log_normal(y, means, c)).logsumexp(0)).sum() + (prior * w).sum()
    score = score - PRIOR * (log_widths + (own / c).square() / 2).sum()
    score.backward()
    assert logits.grad is not None and log_widths.grad is not None
    assert float(logits.grad.abs().max()) < 1e-4
    free = widths < own
    assert free.sum() == 2 and float(log_widths.grad[free].abs().max()) < 1e-4
    assert torch.equal(widths[~free], own[~free]) and float(log_widths.grad[~free].min()) > 0.01  # it would be larger
    assert float(weights.sum()) == pytest.approx(1)


def test_learners_that_err_in_turns_are_narrower_in_a_mixture() -> None:
    """Each learner is right for half of the groups, and far off for the others."""
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(40, 6, 1, generator=chance)
    off = torch.zeros(40, 1, 1)
    off[::2] = 4.0
    scores = {"even": judged(noise + off, 1.0), "odd": judged(noise + 4.0 - off, 1.0)}
    alone = [factors(each)[0][0] for each in scores.values()]
    found = mixing(scores, widths=True)
    assert found.widths is not None and min(alone) > 2.5
    assert float(found.widths.max()) < 1.6 and found.weights[0].tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert mixing(scores, widths=False).widths is None


def test_two_outputs_have_widths_of_their_own() -> None:
    chance = torch.Generator().manual_seed(0)
    first, second = (judged(sd * torch.randn(60, 5, 2, generator=chance), 1.0) for sd in (1.0, 3.0))
    both = first._replace(
        rows=first.rows + second.rows,
        squares=torch.cat([first.squares, second.squares], 3),
        squared=torch.cat([first.squared, second.squared], 2),
    )
    found = mixing({"one": both}, widths=True)
    assert found.widths is not None and found.widths.shape == (1, 2, 2)
    assert found.widths[0, 0].tolist() == pytest.approx([1.0, 3.0], rel=0.1)
    assert found.weights.tolist() == [[1.0], [1.0]]
    assert found.by_name(["one"]) == {"one": (1.0, 1.0)}


def test_each_group_counts_once_whatever_its_rows() -> None:
    """The first learner is right for five groups with many rows, the second for fifteen with a single one."""
    errors = torch.zeros(20, 30, 1)
    real = torch.zeros(20, 30, dtype=torch.bool)
    real[:5], real[5:, 0] = True, True
    wrong = errors.clone()
    wrong[:5] = 3.0
    second = judged(wrong, 1.0)._replace(real=real)
    wrong = errors.clone()
    wrong[5:] = 3.0
    first = judged(wrong, 1.0)._replace(real=real)
    one, two = mixing({"first": first, "second": second}, widths=False).weights[0].tolist()
    assert two > 2 * one


def test_many_rows_are_thinned() -> None:
    chance = torch.Generator().manual_seed(0)
    few, many = (torch.randn(400, n, 1, generator=chance) for n in (MOST_ROWS // 400, 200))
    found = [
        mixing({"good": judged(errors, 1.0), "narrow": judged(2 * errors, 1.0)}, widths=True).weights[0, 0]
        for errors in (few, many)
    ]
    assert float(found[0]) == pytest.approx(float(found[1]), abs=0.03)


def test_a_learner_with_a_useless_mean_has_no_weight() -> None:
    good = judged(torch.randn(8, 5, 2), 1.0)
    for error in (torch.inf, torch.nan, 100.0):
        bad = good._replace(rows=good.rows + 3.0, squared=good.squared.clone())
        bad.squared[0, 0] = error * bad.squared.mean() * 8
        weights = mixing({"good": good, "bad": bad}, widths=False).weights
        (first, _), (second, _) = weights.tolist()
        assert first == 1.0 and second < 0.3 and weights.sum(1).tolist() == pytest.approx([1, 1])
    both = {name: good._replace(squared=torch.full_like(good.squared, torch.inf)) for name in ("a", "b")}
    assert mixing(both, widths=True).weights.tolist() == [pytest.approx([0.5, 0.5])] * 2
