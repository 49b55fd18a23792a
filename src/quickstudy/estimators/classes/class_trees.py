"""Boosted trees on the inputs and on what the seen rows of a group say about its classes."""

from collections.abc import Sequence
from typing import Any, NoReturn, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.data import Examples, Tasks
from quickstudy.estimators.classes.class_curve import ClassCurve
from quickstudy.estimators.classes.from_seen_rows import LabelPredictor, adapted, counts_of
from quickstudy.extras import missing_package
from quickstudy.tables.boosting.trees import Trees

MOST_SEEN = 8  # largest number of seen rows in training
ROWS = 200_000  # largest number of training rows
LEAVES = 4  # largest number of leaves of a tree
LEAST = 10  # least number of different rows in a leaf
FEW = 100.0  # rows of any number of seen rows, in the temperature of one number
FLOOR = 0.01  # weight of the class shares of all rows in each prediction


@final
class ClassTrees(nn.Module):
    """Histogram gradient boosting (Ke et al. 2017; scikit-learn's form) of class probabilities for rows of groups.

    Each training group is divided into seen rows, 0 to 8 of them, and other rows, many times over. The trees predict
    the class of the others from the inputs, the number of seen rows, the share of each class among them, the mean of
    what `ClassCurve` did not expect of them, and the class of the nearest. Their logits are divided by the temperature
    that suits groups with as many seen rows to which the trees were not fitted, in two folds; and the class shares of
    all rows have a weight of 0.01 in each prediction.

    It needs scikit-learn (extra `tables`) to be fitted, and not to predict. It has no parameters that gradients train.

    Args:
        classes: number of classes.
        dx: number of inputs.
        rounds: number of trees of each class.
        draws: number of divisions of each group.
        seed: seed of these divisions.
        present: places of the classes that occurred in `fit`, as `config` gives them; leave it out.
        sizes: numbers of trees and nodes, as `config` gives them; leave it out.
    """

    temperatures: Tensor
    shares: Tensor

    def __init__(
        self,
        classes: int,
        dx: int = 1,
        *,
        rounds: int = 100,
        draws: int = 12,
        seed: int = 0,
        present: Sequence[int] | None = None,
        sizes: Sequence[Sequence[int]] | None = None,
    ):
        super().__init__()
        self.classes, self.dx = check_whole("classes", classes, 2), check_whole("dx", dx)
        self.rounds, self.draws, self.seed = check_whole("rounds", rounds), check_whole("draws", draws), seed
        self.curve = ClassCurve(classes, dx)
        self.present = list(range(classes)) if present is None else list(present)
        self.trees = nn.ModuleList(Trees(*size) for size in sizes or [(0, 0)])
        self.register_buffer("temperatures", torch.ones(1 + MOST_SEEN, dtype=torch.float64))
        self.register_buffer("shares", torch.full((classes,), 1 / classes, dtype=torch.float64))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("classes", "dx", "rounds", "draws", "seed", "present")
        sizes = [[trees.trees, trees.nodes] for trees in self.trees]
        return {**{name: getattr(self, name) for name in names}, "sizes": sizes}

    @torch.no_grad()
    def fit(self, groups: Examples) -> Self:
        """Fit the trees to labelled groups, `x [T, N, dx]` and labels `[T, N]`.

        Raises:
            ModuleNotFoundError: without scikit-learn.
        """
        groups = groups.clean()
        counts = counts_of(groups, self.classes).sum(0)
        self.shares.copy_((counts + 1) / (counts + 1).sum())
        self.curve.fit(groups)
        x, y, owners = self._divided(groups)
        self.present = np.unique(y).tolist()
        raw, known = np.zeros((len(y), self.classes)), np.zeros(len(y), dtype=bool)
        for held in (owners % 2 == 0, owners % 2 == 1):
            if held.any() and set(np.unique(y[~held])) == set(self.present):
                raw[held], known[held] = self._sums(self._boosted(x[~held], y[~held]), torch.from_numpy(x[held])), True
        if known.any():
            number = torch.from_numpy(x[known, self.dx + self.classes])
            self.temperatures.copy_(_temperatures(torch.from_numpy(raw[known]), torch.from_numpy(y[known]), number))
        self.trees = self._boosted(x, y)
        return self

    def _boosted(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> nn.ModuleList:
        try:
            from sklearn.ensemble import HistGradientBoostingClassifier
        except ModuleNotFoundError as error:
            raise missing_package("sklearn", "tables", "boosted trees need scikit-learn") from error
        if len(self.present) == 1:
            return nn.ModuleList([Trees()])
        model = HistGradientBoostingClassifier(
            max_iter=self.rounds,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=LEAST * self.draws,  # a row is in the training set up to once in each division
            learning_rate=0.05,
            early_stopping=False,
            random_state=self.seed,
        ).fit(x, y)
        count = 1 if len(self.present) == 2 else len(self.present)
        return nn.ModuleList(Trees.of(model, x[:100], k) for k in range(count))

    def _sums(self, trees: nn.ModuleList, features: Tensor) -> Tensor:
        """Logits `[n, classes]`; those of classes that did not occur are -inf."""
        found = features.new_full((len(features), self.classes), -torch.inf, dtype=torch.float64)
        if len(trees) == 1:  # of one class, or of the second of two
            found[:, self.present[0]] = 0.0
            if len(self.present) == 2:
                found[:, self.present[1]] = trees[0](features)
        else:
            for place, each in zip(self.present, trees, strict=True):
                found[:, place] = each(features)
        return found

    def _divided(self, groups: Examples) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Rows of features, their classes and their groups, over all divisions."""
        chance = torch.Generator().manual_seed(self.seed)
        sizes, real = groups.sizes(), groups.real()
        parts = []
        for _ in range(max(1, min(self.draws, ROWS // max(1, int(sizes.sum()))))):
            seen = (torch.rand(len(sizes), generator=chance) * sizes.clamp_max(MOST_SEEN + 1)).long()
            places = torch.rand(real.shape, generator=chance).masked_fill(~real, torch.inf).argsort(1).argsort(1)
            known = (places < seen[:, None]) & real
            asked = ~known & real
            found = self.features(groups._replace(mask=known), groups.x)[asked]
            owners = torch.arange(len(sizes))[:, None].expand_as(asked)[asked]
            parts.append((found.numpy(), groups.y[asked].numpy(), owners.numpy()))
        x, y, owner = (np.concatenate(part) for part in zip(*parts, strict=True))
        return x, y, owner

    def features(self, support: Examples, x: Tensor) -> Tensor:
        """Features `[T, M, ...]` of rows with inputs `x [T, M, dx]`, in float64; NaN where no row is seen."""
        real, points = support.real(), x.shape[1]
        codes = nn.functional.one_hot(torch.where(real, support.y, 0), self.classes).double()
        codes = torch.where(real.unsqueeze(2), codes, 0.0)
        number = real.sum(1)
        expected = self.curve.logits(support, support.x).softmax(2).double()
        surprise = torch.where(real.unsqueeze(2), codes - expected, 0.0).sum(1)
        none = (number == 0)[:, None]
        means = (torch.cat([codes.sum(1), surprise], 1) / number.clamp_min(1)[:, None]).masked_fill(none, torch.nan)
        at = x.double()
        of_group = torch.cat([number[:, None].double(), means], 1)[:, None].expand(-1, points, -1)
        base = self.curve.logits(support, x).softmax(2).double()
        if not support.num_points:
            near = at.new_full((*at.shape[:2], self.classes + 1), torch.nan)
        else:
            apart = torch.where(real[:, None], torch.cdist(at, support.x.double()), torch.inf)
            distance, place = apart.min(2)
            own = codes.gather(1, place.unsqueeze(2).expand(-1, -1, self.classes))
            near = torch.cat([distance.unsqueeze(2), own], 2).masked_fill(none.unsqueeze(2), torch.nan)
        return torch.cat([at, base, of_group, near], 2)

    def meta_loss(self, tasks: Tasks) -> NoReturn:
        """There is none: trees have no gradient.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("boosted trees are not trained by gradients; use ClassTrees(...).fit(groups)")

    def adapt(
        self, support: Examples, *, steps: int | None = None, create_graph: bool = False, generator: Any = None
    ) -> LabelPredictor:
        """The predictor for the seen rows; `steps=0` and an empty support set give the prior."""
        return adapted(self, support, steps, generator)

    def logits(self, support: Examples, x: Tensor) -> Tensor:
        """Log probabilities at `x [T, M, dx]`."""
        rows = self.features(support, x).flatten(0, 1)
        number = rows[:, self.dx + self.classes].long().clamp_max(MOST_SEEN)
        own = (self._sums(self.trees, rows) / self.temperatures[number, None]).softmax(1)
        return ((1 - FLOOR) * own + FLOOR * self.shares).log().view(*x.shape[:2], -1).to(x)


def _temperatures(logits: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """For each number of seen rows the number by which dividing makes held-out classes most probable.

    It is found among 41 from 1/4 to 8, with FEW rows of all numbers beside those of this number; a number that does not
    occur has that of the largest one that does.
    """
    grid = torch.logspace(-2, 3, 41, base=2, dtype=torch.float64)
    losses = torch.stack([nn.functional.cross_entropy(logits / each, y, reduction="none") for each in grid])
    prior, most = FEW * losses.mean(1), int(number.max())
    return torch.stack(
        [grid[(losses[:, number == min(n, most)].sum(1) + prior).argmin()] for n in range(1 + MOST_SEEN)]
    )
