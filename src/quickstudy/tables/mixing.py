"""How the beliefs of several learners are mixed: weights, and the widths with which they take part."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quickstudy.tables.calibrated import PRIOR, factors
from quickstudy.tables.judging import thinned

LEAST = 0.01  # smaller weights of the mixture are set to 0, and their learners are not kept
WORST = 3.0  # a learner whose error is larger, relative to the least, has no weight
FLAT = 0.3  # pseudo-groups that each learner explains best, in the weights for all numbers of seen rows together
DRAWN = 4.0  # pseudo-groups that these weights explain, in those for one number of seen rows
ROUNDS = 200  # largest number of steps of the EM algorithm
MOST_ROWS = 10_000  # that are used, evenly spaced; more of them change little
CLOSE = 1e-6  # it ends when a step changes nothing by more


class Mixing(NamedTuple):
    """What held-out rows say about a mixture of `C` learners, after each of `K` numbers of seen rows.

    Args:
        weights: `[K, C]`; those of a number add up to 1.
        widths: factors of the spread of each learner's beliefs, `[C, K, dy]`; None where they stay as they are.
    """

    weights: Tensor
    widths: Tensor | None

    def by_name(self, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """The weights of each learner by name, one for each number of seen rows."""
        return {name: tuple(own) for name, own in zip(names, self.weights.T.tolist(), strict=True)}


def mixing(scores: Mapping[str, Any], *, widths: bool) -> Mixing:
    """Weights and widths that maximise the held-out score of the mixture.

    Those for a number of seen rows are drawn towards what fits all numbers together (the weights), or each learner by
    itself (the widths). A mixture of beliefs, each as wide as it must be by itself, would be too wide. A learner whose
    error is more than three times the least has no weight: its density may be good where its mean is useless, as that
    of outcomes whose logarithms have a large variance.

    Args:
        scores: `Judged` of each learner on held-out groups, or `JudgedLabels`, from the beliefs as they are.
        widths: whether the spread of beliefs is changed; not of labels and of whole numbers.
    """
    first = next(iter(scores.values()))
    count = first.rows.shape[2]
    used, shares = _rows(first.real)
    useful = _useful(scores).expand(count, len(scores))
    densities = torch.stack([judged.rows.flatten(0, 1)[used] for judged in scores.values()]).double()  # [C, R, K]
    densities = torch.where(useful.T.unsqueeze(1), densities, -torch.inf)
    even = torch.full((len(scores),), FLAT)
    if not widths:
        together = stacking_weights(densities.flatten(1), shares.repeat_interleave(count) / count, even)
        found = [stacking_weights(densities[..., k], shares, DRAWN * together * useful[k]) for k in range(count)]
        return Mixing(_without_small(torch.stack(found)), None)
    squares = torch.stack([judged.squares.flatten(0, 1)[used] for judged in scores.values()]).double()  # [C, R, K, dy]
    own = torch.tensor([factors(judged) for judged in scores.values()], dtype=torch.float64)  # [C, K, dy]
    wide = _widened(densities, squares, own.unsqueeze(1))
    together = stacking_weights(wide.flatten(1), shares.repeat_interleave(count) / count, even)
    both = [
        stacking(densities[..., k], squares[..., k, :], shares, DRAWN * together * useful[k], own[:, k])
        for k in range(count)
    ]
    weights, factors_of = (torch.stack(part) for part in zip(*both, strict=True))
    return Mixing(_without_small(weights), factors_of.transpose(0, 1))


def stacking_weights(densities: Tensor, shares: Tensor, prior: Tensor, rounds: int = ROUNDS) -> Tensor:
    """The weights `[C]` that maximise the held-out log score, with a prior that keeps them from the edges.

    max_w sum_r s_r log sum_c w_c p_c(y_r) + sum_c a_c log w_c, by the EM algorithm, whose every step increases it
    (stacking of predictive distributions, Yao et al. 2018).

    Args:
        densities: log p_c(y_r), `[C, R]`; -inf is allowed.
        shares: s_r, the weight of each row, `[R]`; those of a group add up to 1.
        prior: a_c, pseudo-groups that each learner explains best, `[C]`.
        rounds: largest number of EM steps.

    >>> good, bad = torch.zeros(40), torch.full((40,), -9.0)
    >>> stacking_weights(torch.stack([good, bad]), torch.ones(40), torch.full((2,), 0.3))
    tensor([0.9926, 0.0074], dtype=torch.float64)
    """
    densities, shares, prior = densities.double(), shares.double(), prior.double()
    weights = torch.full((len(densities),), 1 / len(densities), dtype=torch.float64)
    for _ in range(rounds):
        mass = _explained(densities, weights, shares).sum(1) + prior
        before, weights = weights, mass / mass.sum()
        if float((weights - before).abs().max()) < CLOSE:
            break
    return weights


def stacking(
    densities: Tensor, squares: Tensor, shares: Tensor, prior: Tensor, widths: Tensor, rounds: int = ROUNDS
) -> tuple[Tensor, Tensor]:
    """`stacking_weights` and, found with them, the factors `[C, dy]` of the spread of each learner's beliefs.

    A belief whose spread is multiplied by c has the log density log p(y) + (z^2 - z^2 / c^2) / 2 - log c; this is exact
    if it is normal, or normal after a change of y. Three pseudo-groups agree with the factors of each learner by
    itself, and none becomes larger: a learner that explained outliers alone would have a useless mean on another scale.

    Args:
        densities: log p_c(y_r), `[C, R]`.
        squares: z^2, where z is the standard normal number that is as improbable as the outcome, `[C, R, dy]`.
        shares: the weight of each row, `[R]`.
        prior: pseudo-groups that each learner explains best, `[C]`.
        widths: the factors of each learner by itself, `[C, dy]`.
        rounds: largest number of EM steps.

    >>> z = torch.randn(2, 500, 1, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])[:, None, None]
    >>> one = torch.ones(2, 1)
    >>> weights, widths = stacking(-z.square().sum(2) / 2, z.square(), torch.ones(500), 2 * one[:, 0], one)
    >>> bool(weights[0] > 0.9)
    True
    """
    densities, squares, shares = densities.double(), squares.double(), shares.double()
    prior, own = prior.double(), widths.double()
    weights = stacking_weights(_widened(densities, squares, own.unsqueeze(1)), shares, prior, rounds)
    factor = own
    for _ in range(rounds):
        parts = _explained(_widened(densities, squares, factor.unsqueeze(1)), weights, shares)
        mass = parts.sum(1)
        total = (parts.unsqueeze(2) * squares).sum(1) + PRIOR * own.square()
        before = torch.cat([weights, factor.flatten()])
        factor = (total / (mass + PRIOR).unsqueeze(1)).sqrt().minimum(own)
        weights = (mass + prior) / (mass + prior).sum()
        if float((torch.cat([weights, factor.flatten()]) - before).abs().max()) < CLOSE:
            break
    return weights, factor


def _rows(real: Tensor) -> tuple[Tensor, Tensor]:
    """Places `[R]` of real rows in `real.flatten()`, and their shares `[R]`, which add up to the number of groups."""
    shares = (real / real.sum(1, keepdim=True)).flatten().double()
    used = thinned(real.flatten().nonzero(), MOST_ROWS).squeeze(1)
    return used, shares[used] * (len(real) / shares[used].sum())


def _explained(densities: Tensor, weights: Tensor, shares: Tensor) -> Tensor:
    """The part `[C, R]` of each row that each learner explains."""
    parts = (densities + weights.log()[:, None]).nan_to_num(nan=-torch.inf, posinf=0.0, neginf=-1e300)
    return parts.softmax(0) * shares


def _widened(densities: Tensor, squares: Tensor, factor: Tensor) -> Tensor:
    """The log densities of beliefs whose spread is multiplied by `factor [..., dy]`."""
    return densities + (squares * (1 - factor**-2) / 2 - factor.log()).sum(-1)


def _useful(scores: Mapping[str, Any]) -> Tensor:
    """Whether the error of each learner is at most three times the least, `[K, C]`; classes have no such error."""
    if not all(hasattr(judged, "squared") for judged in scores.values()):
        return torch.tensor(True)
    errors = torch.stack([judged.squared.mean(0) for judged in scores.values()]).nan_to_num(torch.inf)  # [C, K, dy]
    return (errors <= WORST**2 * errors.amin(0)).all(2).T


def _without_small(weights: Tensor) -> Tensor:
    """The weights `[K, C]`, those below 1% set to 0, with the sum 1 in each row."""
    kept = torch.where(weights < LEAST, 0.0, weights)
    return kept / kept.sum(1, keepdim=True)
