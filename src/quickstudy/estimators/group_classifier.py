"""A classifier over groups with scikit-learn's conventions."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor

from quickstudy.checks import shown
from quickstudy.estimators.answers import labels_of
from quickstudy.estimators.classes.choosing import in_chance_order
from quickstudy.estimators.classes.fitting import choice_for_labels, labels_without_groups, one, scores_of_one
from quickstudy.estimators.classes.probabilities import probabilities
from quickstudy.estimators.conventions import (
    BaseEstimator,
    ClassifierMixin,
    accuracy_score,
    check_classification_targets,
    check_is_fitted,
)
from quickstudy.estimators.given import (
    check_has_groups,
    known_and_asked,
    rows_of_new_groups,
    warn_of_no_groups,
)
from quickstudy.estimators.inputs import numbers_in, training_inputs
from quickstudy.estimators.keeping import read, write
from quickstudy.estimators.label_predictor import GroupLabelPredictor
from quickstudy.estimators.rows import (
    as_tensor,
    check_aligned,
    names_of,
    read_labels,
    rows_by_group,
    training_rows,
)
from quickstudy.estimators.scores import as_frame, columns_of_scores, metrics_of_labels
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
from quickstudy.runs.storage import load, write_save
from quickstudy.tables.stack import Stack
from quickstudy.tasks.datasets.columns import GroupedRows


@final
class GroupClassifier(ClassifierMixin, BaseEstimator):
    """Predicts the classes of rows of new groups from a few labelled ones, with scikit-learn's conventions.

    It is to classes what `GroupRegressor` is to numbers: `groups=` names the group of each row, such as the student who
    answers an item; `fit` learns how groups differ, `adapt` takes labelled rows of new groups, and `predict` and
    `predict_proba` take the groups of `fit`.

    The learners are class probabilities from the inputs alone ("everyone": multinomial logistic regression, on a spline
    of a single input), class shares of each group ("shares": Dirichlet-multinomial), boosted trees on the inputs and on
    what the seen rows say ("trees"), and a conditional neural process that starts from "everyone" ("process").

    Without groups, `fit` takes every row for a group of its own, with a warning; whatever `learner` is, the model is
    then "everyone", and `adapt` raises an error.

    Args:
        learner: what is fitted. None mixes all learners, with weights that maximise the log-likelihood of held-out
            groups, which needs six groups; several names mix these only; one name fits this learner. A learner of the
            contract for class labels, such as `qs.CNP(head=qs.heads.CategoricalHead(2))`, is fitted by its method `fit`
            or else by `qs.fit`; it is copied, and sees inputs in standard units and labels 0, 1 and so on.
        seen: numbers of labelled rows of a new group after which learners are measured; None takes 0, 1, 2, 4 and 8,
            as far as the groups allow. They are random rows of the group.
        training: arguments of `qs.fit`, for a learner that it trains.
        random_state: seed of folds, initial weights, training and the order of rows.
        progress: receives `(what is fitted next, fits done, fits in all)`.

    Attributes:
        classes_: the classes, sorted.
        model_: the fitted learner, in the units of the data, for labels 0, 1 and so on.
        weights_: weight of each learner in the mixture, by its name: the mean over numbers of seen rows.
        scores_: scores over held-out groups, where learners were chosen; see `cross_validate`. Otherwise None.
        groups_: the groups of `fit`, in natural order; None if their rows were not saved.
        n_features_in_, feature_names_in_: the number and, of a data frame, the names of the columns of X.

    >>> import numpy as np
    >>> student, item = np.repeat(np.arange(10), 6), np.tile(np.arange(6.0), 10)
    >>> right = np.where(item < student % 5 + 0.5, "yes", "no")
    >>> model = GroupClassifier(learner="trees").fit(item[:, None], right, groups=student)
    >>> new = model.adapt([[1], [4]], ["yes", "yes"])
    >>> bool(new.predict_proba([[3]])[0, 1] > model.predict_proba([[3]])[0, 1])
    True
    """

    # with metadata routing, groups go to these methods unless a request says otherwise
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"groups": True}
    __metadata_request__predict: ClassVar[Mapping[str, bool]] = {"groups": True}
    __metadata_request__predict_proba: ClassVar[Mapping[str, bool]] = {"groups": True}
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

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn from the labelled rows of many groups.

        Args:
            X: inputs `[rows, dx]`, numbers; a data frame, an array or lists. Columns of a data frame may also hold
                dates, durations and categories, as of `GroupRegressor.fit`.
            y: the class of each row, `[rows]`: text, whole numbers or truth values.
            groups: the group of each row, `[rows]`: text or numbers.

        Raises:
            ValueError: for missing values, shapes that do not fit together, a single class, fewer than two groups with
                two rows, and fewer than six where learners are to be chosen.

        Warns:
            UserWarning: without groups.
            RuntimeWarning: if groups with a single row are left out.
        """
        values = self._training_values(X, y, groups)
        setting = setting_of(self)
        self.scores_: dict[str, list[Any]] | None = None
        with torch.random.fork_rng(devices=[]):
            if groups is None:
                warn_of_no_groups()
                self._known, self.groups_, self.weights_ = {}, (), {"everyone": 1.0}
                learner = labels_without_groups(values, self._names.x, len(self.classes_))
                self.model_ = Stack({"everyone": learner}, [0], [[1.0]])
            else:
                self._known = rows_by_group(values, read_labels(groups, len(values)), self._names)
                self.groups_ = tuple(self._known)
                self.model_ = self._fitted(training_rows(self._known, self._names), setting)
        self.model_.double()
        return self

    def _training_values(self, X: Any, y: Any, groups: Any) -> Tensor:
        """Inputs and numbers of classes `[rows, dx + 1]`; sets the classes and the names."""
        check_aligned(X, {"y": y, "groups": groups})
        inputs = training_inputs(X)
        x, target = numbers_in(self, X, inputs, y=y)
        check_classification_targets(target)
        self.classes_, codes = np.unique(target, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class, {shown(self.classes_.tolist()[0])}; expected two or more")
        self._names = names_of(self, inputs, y, groups, target.shape)
        self.n_outputs_ = 1
        return as_tensor(np.column_stack([x, codes]))

    def _fitted(self, rows: GroupedRows, setting: Setting) -> Stack:
        """The mixture, or the one learner, fitted to groups."""
        rows = in_chance_order(rows, setting.seed)
        seen = sizes_of(rows, setting)
        if is_choice(setting.learner):
            choice = choice_for_labels(rows, len(self.classes_), setting, seen)
            self.scores_ = columns_of_scores(choice.scores, seen, metrics_of_labels)
            self.weights_ = {name: sum(own) / len(own) for name, own in choice.weights.items()}
            return choice.model
        name = name_of(setting.learner)
        self.weights_ = {name: 1.0}
        return Stack({name: one(rows, rows.names, len(self.classes_), setting, max(*seen, 4))}, [0], [[1.0]])

    def predict(self, X: Any, groups: Any = None) -> Any:
        """The likeliest class of each row, `[rows]`; for a data frame a series with its index.

        Args:
            X: inputs `[rows, dx]`, with the columns of `fit` in their order.
            groups: the group of each row; rows of groups that `fit` saw are predicted given all their labelled rows,
                others as of an unknown group. Without groups, each row is of an unknown group.

        Raises:
            NotFittedError: before `fit`.
            ValueError: for rows unlike those of `fit`, groups without a label, and a model that was saved without rows.
        """
        return labels_of(self._probs(X, groups), X, self.classes_, self._names.y[0])

    def predict_proba(self, X: Any, groups: Any = None) -> Any:
        """Class probabilities `[rows, classes]`, in the order of `classes_`; arguments and errors are as of `predict`.

        This is an array for a data frame, too, as scikit-learn's scorers expect; that of `adapt` is a data frame.
        """
        return self._probs(X, groups).numpy()

    def adapt(self, X: Any, y: Any, groups: Any = None) -> GroupLabelPredictor:
        """Predictions for new groups, given labelled rows; there may be none.

        Args:
            X: inputs `[rows, dx]`.
            y: the class of each row, of those in `classes_`.
            groups: the group of each row; without it, all rows belong to one group. A label that `fit` saw is a new
                group, too: its earlier rows are not used.

        Raises:
            NotFittedError: before `fit`.
            ValueError: for bad rows, unknown classes, and if `fit` was given no groups.
        """
        new = rows_of_new_groups(self, X, y, groups)
        check_has_groups(self)
        return GroupLabelPredictor(self, new)

    def score(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> float:
        """The accuracy of `predict(X, groups)`; hold groups out, as rows of known groups are predicted given them."""
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def cross_validate(self, X: Any, y: Any, groups: Any, *, folds: int = 3, seen: Sequence[int] | None = None) -> Any:
        """Scores over held-out groups, after some of their labelled rows; nothing of this estimator changes.

        Groups are divided into folds; those of a fold are predicted by an estimator that was fitted to the others,
        after random rows of each. All numbers of seen rows are judged on the same other rows.

        Args:
            X, y, groups: as in `fit`.
            folds: number of folds.
            seen: numbers of rows seen; by default those of the estimator.

        Returns:
            Columns with a row for each learner and number of seen rows (see `scores.metrics_of_labels`), a data frame
            if X is one. "together" is the mixture, whose weights were found without the groups that are judged.
        """
        check_scoring(groups)
        own = type(self)(**self.get_params(deep=False))
        values = own._training_values(X, y, groups)
        setting = setting_of(own, seen)
        rows = training_rows(rows_by_group(values, read_labels(groups, len(values)), own._names), own._names)
        rows = in_chance_order(rows, setting.seed)
        sizes = sizes_of(rows, setting)
        folds = check_folds(folds, rows)
        classes = len(own.classes_)
        with torch.random.fork_rng(devices=[]):
            if is_choice(setting.learner):
                scores = choice_for_labels(rows, classes, setting, sizes, outer=folds).scores
            else:
                scores = {name_of(setting.learner): scores_of_one(rows, classes, setting, folds, sizes)}
        return as_frame(columns_of_scores(scores, sizes, metrics_of_labels), X)

    def save(self, folder: Path | str, *, rows: bool = True) -> None:
        """Write the estimator to a folder, without pickle; arguments and errors are those of `GroupRegressor.save`."""
        check_is_fitted(self)
        write(self, folder, rows, partial(write_save, self.model_))

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The estimator in a folder that `save` wrote.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        return read(cls, folder, load)

    def _probs(self, X: Any, groups: Any) -> Tensor:
        x, rows, asked = known_and_asked(self, X, groups)
        return probabilities(self.model_, rows, asked, x, len(self.classes_))

    def _outcomes(self, y: Any) -> Tensor:
        """The numbers of the classes of rows of new groups, `[rows, 1]`."""
        place = {label: i for i, label in enumerate(self.classes_.tolist())}
        given = [label.item() if hasattr(label, "item") else label for label in y]
        strange = [label for label in given if label not in place]
        if strange:
            listed = ", ".join(shown(label) for label in list(place)[:8])
            raise ValueError(f"y holds {shown(strange[0])}, which is not among the classes of fit: {listed}")
        return torch.tensor([[place[label]] for label in given], dtype=torch.float64).reshape(-1, 1)
