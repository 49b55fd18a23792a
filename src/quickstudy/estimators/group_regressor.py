"""A regressor over groups with scikit-learn's conventions."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor

from quickstudy.estimators.answers import answer, check_wanted
from quickstudy.estimators.conventions import (
    BaseEstimator,
    RegressorMixin,
    check_is_fitted,
    r2_score,
)
from quickstudy.estimators.fitting import as_model, choice_of, held_out_scores, single, without_groups
from quickstudy.estimators.given import (
    check_has_groups,
    check_outcomes,
    holds_text,
    known_and_asked,
    numbers,
    rows_of_new_groups,
    rows_to_predict,
    seed_of,
    warn_of_no_groups,
    warn_of_unlike,
)
from quickstudy.estimators.inputs import check_order, numbers_in, training_inputs
from quickstudy.estimators.keeping import read, write
from quickstudy.estimators.predictor import GroupPredictor
from quickstudy.estimators.rows import (
    as_tensor,
    check_aligned,
    names_of,
    read_labels,
    rows_by_group,
    training_rows,
)
from quickstudy.estimators.scores import as_frame, columns_of_scores, metrics_of
from quickstudy.estimators.setting import (
    Progress,
    Setting,
    check_folds,
    check_scoring,
    is_choice,
    name_of,
    setting_of,
    sizes_of,
)
from quickstudy.tables.doubts import other_units
from quickstudy.tables.model import TableModel
from quickstudy.tables.portions import predictions
from quickstudy.tasks.datasets.columns import GroupedRows


@final
class GroupRegressor(RegressorMixin, BaseEstimator):
    """Predicts rows of new groups from their first rows, with scikit-learn's conventions.

    `groups=` names the group of each row, such as its subject, as in scikit-learn's splitters. `fit` learns how groups
    differ, `adapt` turns the rows of new groups into an object that predicts further rows of them, and `predict` does
    so for the groups of `fit`. Data frames are answered with pandas, which keeps the index. Numbers are float64.

    Without groups, `fit` takes every row for a group of its own. Such rows say nothing about how the rows of a group
    are alike, so whatever `learner` is, one curve for all rows is fitted (a line where X has several columns), with the
    noise around it; `adapt` then raises an error, and `fit` warns.

    Args:
        learner: what is fitted. None tries all learners of `quickstudy table` by nested cross-validation over groups,
            and fits a mixture of them, which needs six groups; several names try these only. One name ("intercept",
            "line", "curve", "gp", "process", "trees" and others) fits this learner. A learner
            of the contract is fitted by its method `fit`, as `qs.MixedModel` and `qs.MeanAndGP` have it, or else by
            `qs.fit`; it is copied, and sees standard units: mean 0 and standard deviation 1 over all rows. From six
            groups on, the distributions of one learner are as wide as held-out groups show that they must be, which
            takes three more fits, to two thirds of the groups each. With fewer groups they are as the learner has them,
            and so are those of a learner that `qs.fit` trains, as three more trainings would take long.
        seen: numbers of rows of a new group after which learners are measured; None takes 0, 1, 2, 4 and 8, as far as
            the groups allow.
        training: arguments of `qs.fit`, such as `{"steps": 3000}`, for a learner that it trains; a sixth of the groups
            are then for validation, and the weights that predict them best are kept.
        random_state: seed of folds, initial weights, training and joint draws.
        progress: receives `(what is fitted next, fits done, fits in all)`.

    Attributes:
        model_: the fitted model, a `TableModel`; its `learner` keeps the contract, in the units of the data.
        weights_: weight of each learner in the mixture, by its name: the mean over numbers of seen rows.
        scores_: scores over held-out groups, where learners were chosen; see `cross_validate`. Otherwise None.
        groups_: the groups of `fit`, in natural order; None if their rows were not saved.
        n_features_in_, feature_names_in_: the number and, of a data frame, the names of the columns of X.
        n_outputs_: the number of columns of y.

    >>> import numpy as np
    >>> subject, day = np.repeat(np.arange(8), 5), np.tile(np.arange(5.0), 8)
    >>> speed = 250 + (10 + subject) * day + np.sin(7.0 * np.arange(40))
    >>> model = GroupRegressor(learner="line").fit(day[:, None], speed, groups=subject)
    >>> new = model.adapt([[0], [1]], [251, 266])
    >>> mean, std = new.predict([[4]], return_std=True)
    >>> bool(abs(mean[0] - 311) < 3 * std[0] < 30)
    True
    """

    # with metadata routing, groups go to these methods unless a request says otherwise
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True}
    __metadata_request__predict: ClassVar[Mapping[str, bool]] = {"groups": True}
    __metadata_request__score: ClassVar[Mapping[str, bool]] = {"groups": True}

    def __init__(
        self,
        learner: Any = None,
        *,
        seen: Sequence[int] | None = None,
        training: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        progress: Progress | None = None,
    ):
        self.learner = learner
        self.seen = seen
        self.training = training
        self.random_state = random_state
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn from the rows of many groups.

        Args:
            X: inputs `[rows, dx]`, numbers; a data frame, an array or lists. Columns of a data frame of pandas or
                polars may also hold dates (read as days since 1970-01-01, in UTC if they have a time zone), durations
                (days) and categories: words, or a column of type category (0 or 1 for each category but the first).
                The rows of a group are seen in the order of the first column.
            y: outcomes `[rows]` or `[rows, dy]`.
            groups: the group of each row, `[rows]`: text or numbers.

        Raises:
            ValueError: for missing values, cells that cannot be read, shapes that do not fit together, fewer
                than two groups with two rows, and for fewer than six where learners are to be chosen.

        Warns:
            UserWarning: without groups.
            RuntimeWarning: if groups with a single row are left out, and of groups whose outcomes are far from those of
                all others, as in other units.
        """
        x, values = self._training_values(X, y, groups)
        setting = setting_of(self)
        self.scores_: dict[str, list[Any]] | None = None
        with torch.random.fork_rng(devices=[]):
            if groups is None:
                self._fit_without_groups(x, values)
            else:
                self._known = rows_by_group(values, read_labels(groups, len(x)), self._names)
                self.groups_ = tuple(self._known)
                self.model_ = self._fitted(training_rows(self._known, self._names), setting)
        self.model_.learner.double()
        return self

    def _training_values(self, X: Any, y: Any, groups: Any) -> tuple[Tensor, Tensor]:
        """Inputs `[rows, dx]`, and inputs and outcomes `[rows, dx + dy]`; sets the names."""
        check_aligned(X, {"y": y, "groups": groups})
        check_outcomes(y)
        inputs = training_inputs(X)
        check_order(inputs or ())
        x, target = numbers_in(self, X, inputs, y=y, multi_output=True, y_numeric=not holds_text(y))
        target = numbers(target)
        self._names = names_of(self, inputs, y, groups, target.shape)
        self.n_outputs_ = len(self._names.y)
        return as_tensor(x), as_tensor(np.column_stack([x, target]))

    def _fit_without_groups(self, x: Tensor, values: Tensor) -> None:
        if len(x) <= x.shape[1] + 1:
            raise ValueError(
                f"n_samples={len(x)} and {x.shape[1]} columns of X, without groups; expected at least two more rows "
                "than columns, for a line and the noise around it"
            )
        warn_of_no_groups()
        learner, rows = without_groups(values, self._names)
        self._known, self.groups_, self.weights_ = {}, (), {"everyone": 1.0}
        self.model_ = as_model(learner, "one curve for all rows", rows, (0,))

    def _fitted(self, rows: GroupedRows, setting: Setting) -> TableModel:
        """The model of a table with groups."""
        y = torch.cat(list(rows.rows))[:, len(rows.x) :]
        for name, low, high in zip(rows.y, y.amin(0).tolist(), y.amax(0).tolist(), strict=True):
            if low == high:
                raise ValueError(f"output {name!r} is {low:g} in all rows, so there is nothing to predict")
        for doubt in other_units(rows):
            warnings.warn(doubt, RuntimeWarning, stacklevel=3)
        if is_choice(setting.learner):
            choice = choice_of(rows, setting)
            self.scores_ = columns_of_scores(choice.scores, choice.seen, metrics_of(rows.y))
            self.weights_ = {name: sum(own) / len(own) for name, own in choice.weights.items()}
            return TableModel.of(choice, rows)
        seen = sizes_of(rows, setting)
        self.weights_ = {name_of(setting.learner): 1.0}
        return as_model(single(rows, rows.names, setting), name_of(setting.learner), rows, seen)

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        return_std: bool = False,
        quantiles: Sequence[float] | None = None,
        joint: int | None = None,
    ) -> Any:
        """Predictions at rows of groups: given all rows of a group that `fit` saw, and without any of an unknown one.

        Args:
            X: inputs `[rows, dx]`, with the columns of `fit` in their order; they are read as there.
            groups: the group of each row. Rows with the same unknown label belong to one unknown group. Without
                groups, each row belongs to an unknown group of its own.
            return_std: whether to return the standard deviation of an outcome, noise included.
            quantiles: levels, such as [0.05, 0.95], of quantiles of an outcome to return.
            joint: number of draws of outcomes to return, drawn together for the rows of a group; the same in each call.

        Returns:
            The mean `[rows]`, or `[rows, dy]` if y had two axes. If more is asked for, a tuple of the mean, standard
            deviation, quantiles `[rows, P]` and draws `[rows, draws]` (`[rows, dy, ...]` of several outputs), without
            what was not asked for. For a data frame these are a series or data frames with its index.

        Raises:
            NotFittedError: before `fit`.
            ValueError: for rows unlike those of `fit`, such as a category that it did not see, groups without a label,
                and a model that was saved without rows.
        """
        x, rows, asked = known_and_asked(self, X, groups)
        wanted = check_wanted(return_std, quantiles, joint, seed_of(self))
        parts = predictions(self.model_.learner, rows, asked, x, self.n_outputs_, wanted)
        return answer(parts, X, self._names, wanted)

    def adapt(self, X: Any, y: Any, groups: Any = None) -> GroupPredictor:
        """Predictions for new groups, given their rows so far; there may be none.

        Args:
            X: inputs `[rows, dx]`.
            y: outcomes, as in `fit`.
            groups: the group of each row; without it, all rows belong to one group. A label that `fit` saw is a new
                group, too: its earlier rows are not used.

        Raises:
            NotFittedError: before `fit`.
            ValueError: for bad rows, and if `fit` was given no groups.

        Warns:
            RuntimeWarning: if the rows of a group are unlike those of all groups of `fit`, as after a change of units.
        """
        new = rows_of_new_groups(self, X, y, groups)
        check_has_groups(self)
        warn_of_unlike(self.model_, new)
        return GroupPredictor(self, new)

    def score(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> float:
        """The coefficient of determination R² of `predict(X, groups)`.

        Rows of groups that `fit` saw are predicted given their own rows, so hold groups out: as `cross_validate` does,
        or scikit-learn's `GroupKFold`, whose held-out groups are predicted without any of their rows.
        """
        return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def cross_validate(self, X: Any, y: Any, groups: Any, *, folds: int = 3, seen: Sequence[int] | None = None) -> Any:
        """Scores over held-out groups, after some of their rows; nothing of this estimator changes.

        Groups are divided into folds; those of a fold are predicted by an estimator that was fitted to the others,
        after the first rows of each by the first column of X. All numbers of seen rows are judged on the same later
        rows.

        Args:
            X, y, groups: as in `fit`.
            folds: number of folds.
            seen: numbers of rows seen; by default those of the estimator.

        Returns:
            Columns with a row for each learner and number of seen rows (see `scores.metrics_of`), a data frame if X is
            one. Of a mixture, each learner has rows, and "together" is the mixture, whose weights were found without
            the groups that are judged (nested cross-validation).
        """
        check_scoring(groups)
        own = type(self)(**self.get_params(deep=False))
        x, values = own._training_values(X, y, groups)
        setting = setting_of(own, seen)
        rows = training_rows(rows_by_group(values, read_labels(groups, len(x)), own._names), own._names)
        folds = check_folds(folds, rows)
        with torch.random.fork_rng(devices=[]):
            if is_choice(setting.learner):
                choice = choice_of(rows, setting, outer=folds)
                scores, sizes = choice.scores, choice.seen
            else:
                sizes = sizes_of(rows, setting)
                scores = {name_of(setting.learner): held_out_scores(rows, setting, folds, sizes)}
        return as_frame(columns_of_scores(scores, sizes, metrics_of(rows.y)), X)

    def outside(self, X: Any) -> Any:
        """Whether each row `[rows]` has an input that is outside the range of training by more than 5% of its width."""
        x, _ = rows_to_predict(self, X, None, {})
        return self.model_.outside(x).numpy()

    def save(self, folder: Path | str, *, rows: bool = True) -> None:
        """Write the estimator to a folder, without pickle; `quickstudy predict FOLDER NEW` takes it, too.

        Args:
            folder: the folder; an earlier GroupRegressor there is replaced.
            rows: whether to keep the rows of `fit`, by which its groups are predicted. Without them, the folder holds
                no outcomes, `adapt` works as before, and `predict` takes no groups.

        Raises:
            NotFittedError: before `fit`.
            TypeError: for a learner of a class of your own, and labels of groups that are neither text nor numbers.
            FileExistsError: if something else is at `folder`, such as a model of `quickstudy table`.
        """
        check_is_fitted(self)
        write(self, folder, rows, self.model_.write)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The estimator in a folder that `save` or `quickstudy table` wrote.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        return read(cls, folder, TableModel.load)

    def _outcomes(self, y: Any) -> Tensor:
        """Outcomes of new groups `[rows, dy]`."""
        return as_tensor(numbers(y, self.n_outputs_)).reshape(-1, self.n_outputs_)
