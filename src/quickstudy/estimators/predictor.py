"""The result of `GroupRegressor.adapt`: predictions for new groups, given their rows so far."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.data import Examples
from quickstudy.estimators.answers import answer, check_wanted
from quickstudy.estimators.given import ONLY, places_and_rows, rows_of_new_groups, rows_to_predict, seed_of
from quickstudy.tables.portions import predictions

Known = Mapping[Any, Tensor]
"""Of each group its rows `[n, dx + dy]`."""


@final
class GroupPredictor:
    """Predictions for one or several new groups, given their rows; made by `GroupRegressor.adapt`.

    Args:
        model: the fitted estimator.
        known: of each group its rows `[n, dx + dy]`.
    """

    def __init__(self, model: Any, known: Known):
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
        x, rows, asked = asked_of(model, self._known, X, groups)
        wanted = check_wanted(return_std, quantiles, joint, seed_of(model))
        parts = predictions(model.model_.learner, rows, asked, x, model.n_outputs_, wanted)
        return answer(parts, X, model._names, wanted)

    def append(self, X: Any, y: Any, groups: Any = None) -> "GroupPredictor":
        """The predictor for these rows and further ones, of the same groups or of more."""
        return GroupPredictor(self._model, joined(self._model, self._known, X, y, groups))

    def unlike(self) -> dict[Any, bool]:
        """Whether each group has an outcome that is far from what is expected of an unknown group.

        Far is 5 standard deviations or more, as after a change of units; predictions are then guesses.
        """
        model, dx = self._model.model_, len(self._model._names.x)
        return {label: bool(model.unlike(_alone(rows, dx))) for label, rows in self._known.items()}

    def __repr__(self) -> str:
        return described(self, self._known)


def asked_of(model: Any, known: Known, X: Any, groups: Any) -> tuple[Tensor, list[Any], list[list[int]]]:
    """Inputs `[rows, dx]`, and of each group that is asked for its known rows and its places among the inputs.

    Raises:
        ValueError: for groups without known rows, and if the groups are not given where there are several.
    """
    x, labels = rows_to_predict(model, X, groups, known)
    if labels is None:
        check_one(known)
        labels = list(known) * len(x)
    rows, asked = places_and_rows(labels, known)
    strange = next((label for label in labels if label not in known), ONLY)
    if strange is not ONLY:
        listed = ", ".join(shown(label) for label in list(known)[:5])
        raise ValueError(f"groups holds {shown(strange)}; adapt was given rows of {listed}")
    return x, rows, asked


def joined(model: Any, known: Known, X: Any, y: Any, groups: Any) -> dict[Any, Tensor]:
    """The known rows and further ones."""
    more = rows_of_new_groups(model, X, y, groups)
    if ONLY in more:
        check_one(known)
        more = {next(iter(known)): more[ONLY]}
    both = {label: torch.cat([known[label], rows]) for label, rows in more.items() if label in known}
    return {**known, **more, **both}


def check_one(known: Known) -> None:
    """Raise ValueError if there are several groups."""
    if len(known) > 1:
        raise ValueError(f"there are {len(known)} groups; give groups=, the group of each row")


def described(predictor: Any, known: Known) -> str:
    """The numbers of groups and rows, for people."""
    groups = f"{len(known)} group{'s' * (len(known) != 1)}"
    return f"{type(predictor).__name__}({groups}, {sum(map(len, known.values()))} rows)"


def _alone(rows: Tensor, dx: int) -> Examples:
    """The rows of one group."""
    return Examples(rows[None, :, :dx], rows[None, :, dx:])
