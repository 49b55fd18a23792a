"""Gradient-boosted trees as tensors: they are evaluated by torch, and saved without pickle."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

_AT_ONCE = 1 << 22  # pairs of a row and a tree that are evaluated at once, to bound memory


@final
class Trees(nn.Module):
    """The sum of regression trees; fitted by scikit-learn's histogram boosting (extra `tables`).

    A tree is a row of nodes. From a node, a row of features goes left if its feature is at most the threshold, or if
    the feature is NaN and the node says so; the sum of the values of the leaves that it reaches is the output.

    Args:
        trees: number of trees.
        nodes: largest number of nodes of a tree.
    """

    value: Tensor
    threshold: Tensor
    feature: Tensor
    left: Tensor
    right: Tensor
    nan_left: Tensor
    start: Tensor

    def __init__(self, trees: int = 0, nodes: int = 0):
        super().__init__()
        self.trees, self.nodes = trees, nodes
        for name in ("value", "threshold"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.float64))
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.long))
        self.register_buffer("nan_left", torch.zeros(trees, nodes, dtype=torch.bool))
        self.register_buffer("start", torch.zeros((), dtype=torch.float64))

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"trees": self.trees, "nodes": self.nodes}

    @classmethod
    def of(cls, model: Any, features: np.ndarray[Any, Any], k: int = 0) -> "Trees":
        """The trees of a fitted `HistGradientBoostingRegressor` or `HistGradientBoostingClassifier`.

        Args:
            model: the fitted model.
            features: rows of features `[n, features]`, on which both must agree.
            k: of which class, if there are more than two.

        Raises:
            RuntimeError: if they do not, which another version of scikit-learn could cause.
        """
        nodes = [each[k].nodes for each in model._predictors]
        made = cls(len(nodes), max((len(each) for each in nodes), default=0))
        for i, each in enumerate(nodes):
            count, leaf = len(each), torch.from_numpy(each["is_leaf"].astype(bool))
            own = torch.arange(count)
            made.value[i, :count] = torch.from_numpy(each["value"].astype(np.float64)) * leaf
            made.threshold[i, :count] = torch.from_numpy(each["num_threshold"].astype(np.float64))
            made.feature[i, :count] = torch.from_numpy(each["feature_idx"].astype(np.int64))
            made.nan_left[i, :count] = torch.from_numpy(each["missing_go_to_left"].astype(bool))
            for name in ("left", "right"):  # a leaf leads to itself
                below = torch.from_numpy(each[name].astype(np.int64))
                getattr(made, name)[i, :count] = torch.where(leaf, own, below)
        made.start.fill_(float(np.ravel(model._baseline_prediction)[k]))
        found = made(torch.from_numpy(features.astype(np.float64))).numpy()
        if not np.allclose(found, model._raw_predict(features).reshape(len(features), -1)[:, k], atol=1e-9, rtol=1e-9):
            import sklearn

            raise RuntimeError(
                f"the trees of scikit-learn {sklearn.__version__} cannot be read; install another version, such as 1.9"
            )
        return made

    def forward(self, features: Tensor) -> Tensor:
        """The sums `[n]` for rows of features `[n, features]`, in float64; before a link function, if there was one."""
        rows = max(1, _AT_ONCE // max(1, self.trees))
        return torch.cat([self._sums(part) for part in features.double().split(rows)])

    def _sums(self, features: Tensor) -> Tensor:
        at = torch.zeros(self.trees, len(features), dtype=torch.long, device=features.device)
        while self.trees:
            value = features[torch.arange(len(features), device=at.device), self.feature.gather(1, at)]
            to_left = (value <= self.threshold.gather(1, at)) | (value.isnan() & self.nan_left.gather(1, at))
            below = torch.where(to_left, self.left.gather(1, at), self.right.gather(1, at))
            if bool((below == at).all()):
                break
            at = below
        return self.start + self.value.gather(1, at).sum(0)
