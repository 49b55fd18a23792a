"""The result of `GroupRegressor.adapt`: predictions for new groups, given their rows so far."""

from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import Examples
from quickstudy.estimators.answers import answer, check_wanted
from quickstudy.estimators.given import ONLY, rows_to_predict
from quickstudy.estimators.predicting import predictions


@final
class GroupPredictor:
    """Predictions for one or several new groups, given their rows; made by `GroupRegressor.adapt`.

    Args:
        model: the fitted estimator.
        known: of each group its rows `[n, dx + dy]`.
    """

    def __init__(self, model: Any, known: Mapping[Any, Tensor]):
        self._model, self._known = model, dict(known)

    @property
    def groups(self) -> tuple[Any, ...]:
        """The groups; `(None,)` for a group that was given without a label."""
        return tuple(self._known)

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, quantiles: Any = None, joint: int | None = None
    ) -> Any:
        """Predictions at rows of these groups; arguments and result are those of `GroupRegressor.predict`.

        Args:
            X: the rows.
            groups: the group of each row; needed if there are several.
            return_std, quantiles, joint: what to return besides the mean.

        Raises:
            ValueError: for groups that were not given to `adapt`, and for bad rows.
        """
        model = self._model
        x, labels = rows_to_predict(model, X, groups, self._known)
        if labels is None:
            if len(self._known) > 1:
                raise ValueError(f"there are {len(self._known)} groups; give groups=, the group of each row")
            labels = list(self._known) * len(x)
        rows, asked = places_and_rows(labels, self._known)
        if None in rows:
            strange = next(label for label in labels if label not in self._known)
            known = ", ".join(shown(label) for label in list(self._known)[:5])
            raise ValueError(f"groups holds {shown(strange)}; adapt was given rows of {known}")
        wanted = check_wanted(return_std, quantiles, joint, model._seed())
        parts = predictions(model.model_.learner, rows, asked, x, model.n_outputs_, wanted)
        return answer(parts, X, model._names, wanted)

    def append(self, X: Any, y: Any, groups: Any = None) -> "GroupPredictor":
        """The predictor for these rows and further ones, of the same groups or of more."""
        more = self._model._new_rows(X, y, groups)
        if len(self._known) > 1 and ONLY in more:
            raise ValueError(f"there are {len(self._known)} groups; give groups=, the group of each row")
        if list(more) == [ONLY]:
            more = {next(iter(self._known)): more[ONLY]}
        joined = {label: torch.cat([self._known[label], rows]) for label, rows in more.items() if label in self._known}
        return GroupPredictor(self._model, self._known | more | joined)

    def unlike(self) -> dict[Any, bool]:
        """Whether each group has an outcome that is far from what is expected of an unknown group.

        Far is 5 standard deviations or more, as after a change of units; predictions are then guesses.
        """
        model, dx = self._model.model_, self._model.n_features_in_
        return {label: bool(model.unlike(_alone(rows, dx))) for label, rows in self._known.items()}

    def __repr__(self) -> str:
        counts = f"{len(self._known)} group{'s' * (len(self._known) != 1)}"
        return f"GroupPredictor({counts}, {sum(map(len, self._known.values()))} rows)"


def places_and_rows(labels: Iterable[Any], known: Mapping[Any, Tensor]) -> tuple[list[Any], list[list[int]]]:
    """Of each label in `labels` its known rows, None if there are none, and its places."""
    places: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        places.setdefault(label, []).append(i)
    return [known.get(label) for label in places], list(places.values())


def _alone(rows: Tensor, dx: int) -> Examples:
    """The rows of one group."""
    return Examples(rows[None, :, :dx], rows[None, :, dx:])
