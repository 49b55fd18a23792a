"""Gradient-boosted trees on the inputs and on statistics of the seen rows, as a learner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.checks import check_examples, check_inputs, check_more, check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.extras import missing_package
from quickstudy.learner import check_generator, check_steps
from quickstudy.metric.gp.thinning import thinned
from quickstudy.metric.groups import training_groups
from quickstudy.predictive import Gaussian
from quickstudy.tables.boosting.seen_rows import features
from quickstudy.tables.boosting.trees import Trees

MOST_SEEN = 8  # largest number of seen rows in training
ROWS = 200_000  # largest number of training rows
MOST_USED = 500  # largest number of seen rows of a group from which statistics are computed
SMALLEST = 1e-4  # smallest predicted variance, relative to that of all outcomes


@final
class BoostedTrees(nn.Module):
    """Histogram gradient boosting (Ke et al. 2017, LightGBM; scikit-learn's form) for rows of groups.

    Each training group is divided into seen rows, 0 to 8 of them, and other rows, many times over. The trees predict
    an outcome from the inputs and from statistics of the seen rows (`seen_rows.features`). The belief at each row is
    normal, and independent of the other rows'; its variance is the mean squared error for groups with as many seen
    rows that the trees were not fitted to, in two folds.

    It needs scikit-learn (extra `tables`) to be fitted, and not to predict. It has no parameters that gradients train.

    Args:
        dx: number of inputs.
        dy: number of outputs; each has trees of its own.
        rounds: number of trees.
        leaves: largest number of leaves of a tree.
        rate: learning rate of boosting.
        draws: number of divisions of each group into seen and other rows.
        seed: seed of these divisions.
        sizes: numbers of trees and nodes of each output's fitted trees, as `config` gives them; leave it out.

    >>> import quickstudy as qs
    >>> tasks = qs.tasks.Sinusoid().sample(40, support=5, query=5)
    >>> trees = BoostedTrees(rounds=20).fit(tasks)
    >>> trees.adapt(tasks.support)(tasks.query.x).mean.shape
    torch.Size([40, 5, 1])
    """

    center: Tensor
    spread: Tensor
    variances: Tensor

    def __init__(
        self,
        dx: int = 1,
        dy: int = 1,
        *,
        rounds: int = 150,
        leaves: int = 15,
        rate: float = 0.05,
        draws: int = 12,
        seed: int = 0,
        sizes: Sequence[Sequence[int]] | None = None,
    ):
        super().__init__()
        self.dx, self.dy = check_whole("dx", dx), check_whole("dy", dy)
        self.rounds, self.leaves = check_whole("rounds", rounds), check_whole("leaves", leaves, 2)
        self.rate, self.draws, self.seed = rate, check_whole("draws", draws), seed
        self.means = nn.ModuleList(Trees(*size) for size in sizes or [(0, 0)] * self.dy)
        self.register_buffer("variances", torch.ones(self.dy, 1 + MOST_SEEN, dtype=torch.float64))
        self.register_buffer("center", torch.zeros(self.dy, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(self.dy, dtype=torch.float64))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("dx", "dy", "rounds", "leaves", "rate", "draws", "seed")
        sizes = [[trees.trees, trees.nodes] for trees in self.means]
        return {**{name: getattr(self, name) for name in names}, "sizes": sizes}

    @torch.no_grad()
    def fit(self, groups: Any) -> Self:
        """Fit the trees to training groups: `Examples`, `Tasks`, or a family of given points such as `tasks.Table`.

        Raises:
            ModuleNotFoundError: without scikit-learn.
            TypeError, ValueError: for data of the wrong kind; see `MixedModel.fit`.
        """
        given = training_groups(groups, self.dx, self.dy)
        rows, targets, owners = self._divided(given)
        for d in range(self.dy):
            x, y = rows[d], targets[:, d]
            self.center[d], self.spread[d] = float(y.mean()), float(y.std()) or 1.0
            y = (y - self.center[d].item()) / self.spread[d].item()
            self.means[d] = Trees.of(self._boosted(x, y), x[:100])
            squares = np.zeros_like(y)
            for held in (owners % 2 == 0, owners % 2 == 1):
                squares[held] = np.square(y[held] - self._boosted(x[~held], y[~held]).predict(x[held]))
            self.variances[d] = by_number(x[:, self.dx], squares)
        return self

    def _boosted(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Any:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ModuleNotFoundError as error:
            raise missing_package("sklearn", "tables", "boosted trees need scikit-learn") from error
        model = HistGradientBoostingRegressor(
            max_iter=self.rounds,
            max_leaf_nodes=self.leaves,
            learning_rate=self.rate,
            early_stopping=False,
            random_state=self.seed,
        )
        return model.fit(x, y)

    def _divided(self, groups: Examples) -> tuple[list[Any], Any, Any]:
        """Rows of features for each output, their outcomes `[n, dy]`, and the group of each, over all divisions."""
        chance = torch.Generator().manual_seed(self.seed)
        sizes = groups.sizes()
        x_parts: list[list[Tensor]] = [[] for _ in range(self.dy)]
        y_parts, owners = [], []
        draws = max(1, min(self.draws, ROWS // max(1, int(sizes.sum()))))
        for i in range(draws):
            seen = (torch.rand(len(sizes), generator=chance) * (sizes.clamp_max(MOST_SEEN + 1))).long()
            places = torch.rand(groups.x.shape[:2], generator=chance)
            if i % 2:  # every other time the first rows are seen, in the order of the first input
                places = groups.x[..., 0]
            order = places.masked_fill(~groups.real(), torch.inf).argsort(1).argsort(1)
            known = (order < seen[:, None]) & groups.real()
            asked = ~known & groups.real()
            for d in range(self.dy):
                x_parts[d].append(features(groups.x, groups.y[..., d], known, groups.x)[asked])
            y_parts.append(groups.y[asked])
            owners.append(torch.arange(len(sizes))[:, None].expand_as(asked)[asked])
        return [torch.cat(part).numpy() for part in x_parts], torch.cat(y_parts).numpy(), torch.cat(owners).numpy()

    def meta_loss(self, tasks: Tasks) -> NoReturn:
        """There is none: trees have no gradient.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("boosted trees are not trained by gradients; use BoostedTrees(...).fit(groups)")

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "BoostedPredictor":
        """Predictions given the rows of `support`; `steps=0` and an empty support set give the prior."""
        check_examples(support, "support")
        check_generator(generator)
        if support.x.shape[2:] != (self.dx,) or support.y.shape[2:] != (self.dy,):
            raise ValueError(
                f"support.x has shape {list(support.x.shape)} and support.y {list(support.y.shape)}; these trees were "
                f"built with dx={self.dx}, dy={self.dy} and expect [T, N, {self.dx}] and [T, N, {self.dy}]"
            )
        prior = steps is not None and check_steps(steps) == 0
        return BoostedPredictor(self, support.first(0) if prior else support.clean(), prior)


def by_number(number: np.ndarray[Any, Any], squares: np.ndarray[Any, Any]) -> Tensor:
    """The mean of `squares` for each number of seen rows, 0 to `MOST_SEEN`; the mean of all where there are none."""
    found = [squares[number == n].mean() if (number == n).any() else squares.mean() for n in range(1 + MOST_SEEN)]
    return torch.tensor(found, dtype=torch.float64).clamp_min(SMALLEST)


@dataclass(frozen=True)
class BoostedPredictor:
    """Predictions from the seen rows of each group; made by `BoostedTrees.adapt`."""

    trees: BoostedTrees
    support: Examples
    prior: bool = False

    def __call__(self, x: Tensor) -> Gaussian:
        """The belief at `x [T, M, dx]`, each point by itself."""
        check_inputs(x, self.support)
        known, means, variances = thinned(self.support, MOST_USED).to(dtype=torch.float64), [], []
        for d in range(self.trees.dy):
            rows = features(known.x, known.y[..., d], known.real(), x.double()).flatten(0, 1)
            spread, number = self.trees.spread[d], rows[:, self.trees.dx].long().clamp_max(MOST_SEEN)
            means.append(self.trees.center[d] + spread * self.trees.means[d](rows))
            variances.append(spread.square() * self.trees.variances[d, number])
        shape = (*x.shape[:2], self.trees.dy)
        return Gaussian(*(torch.stack(part, -1).view(shape).to(x) for part in (means, variances)))

    def append(self, examples: Examples) -> "BoostedPredictor":
        """The predictor for the union; one made with `steps=0` stays the prior."""
        check_more(examples, self.support)
        return self if self.prior else replace(self, support=self.support.append(examples.clean()))

    def functions(self, n: int, generator: torch.Generator | None = None) -> NoReturn:
        """There are none: the belief is about each point by itself.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("boosted trees predict each row by itself, so there are no functions to draw")

    def task(self, i: int) -> NoReturn:
        """There is none: trees are no module of a group's own.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("boosted trees have no model of a group's own; use the predictor")
