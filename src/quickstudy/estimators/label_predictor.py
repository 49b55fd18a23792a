"""The result of `GroupClassifier.adapt`: classes of rows of new groups, given some labelled ones."""

from typing import Any, final

from torch import Tensor

from quickstudy.estimators.answers import labels_of, shares_of
from quickstudy.estimators.classes.probabilities import probabilities
from quickstudy.estimators.predictor import Known, asked_of, described, joined


@final
class GroupLabelPredictor:
    """Classes of rows of one or several new groups, given labelled rows; made by `GroupClassifier.adapt`.

    Args:
        model: the fitted estimator.
        known: of each group its rows, `[n, dx + 1]`, with the number of the class.
    """

    def __init__(self, model: Any, known: Known):
        self._model, self._known = model, dict(known)

    @property
    def groups(self) -> tuple[Any, ...]:
        """The groups; `(None,)` for a group that was given without a label."""
        return tuple(self._known)

    def predict(self, X: Any, groups: Any = None) -> Any:
        """The likeliest class of each row, an array `[rows]`; for a data frame a series with its index.

        Args:
            X: the rows.
            groups: the group of each row; needed if there are several.

        Raises:
            ValueError: for groups that were not given to `adapt`, and for bad rows.
        """
        return labels_of(self._probs(X, groups), X, self._model.classes_, self._model._names.y[0])

    def predict_proba(self, X: Any, groups: Any = None) -> Any:
        """Class probabilities `[rows, classes]`; for a data frame one with its index and a column for each class."""
        return shares_of(self._probs(X, groups), X, self._model.classes_)

    def append(self, X: Any, y: Any, groups: Any = None) -> "GroupLabelPredictor":
        """The predictor for these rows and further ones, of the same groups or of more."""
        return GroupLabelPredictor(self._model, joined(self._model, self._known, X, y, groups))

    def _probs(self, X: Any, groups: Any) -> Tensor:
        x, rows, asked = asked_of(self._model, self._known, X, groups)
        return probabilities(self._model.model_, rows, asked, x, len(self._model.classes_))

    def __repr__(self) -> str:
        return described(self, self._known)
