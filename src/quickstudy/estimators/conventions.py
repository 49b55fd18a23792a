"""What the estimators take from scikit-learn, which an extra installs."""

from quickstudy.extras import missing_package

try:
    from sklearn.base import BaseEstimator as BaseEstimator
    from sklearn.base import ClassifierMixin as ClassifierMixin
    from sklearn.base import RegressorMixin as RegressorMixin
    from sklearn.exceptions import NotFittedError as NotFittedError
    from sklearn.metrics import accuracy_score as accuracy_score
    from sklearn.metrics import r2_score as r2_score
    from sklearn.utils import check_random_state as check_random_state
    from sklearn.utils.multiclass import check_classification_targets as check_classification_targets
    from sklearn.utils.validation import check_is_fitted as check_is_fitted
    from sklearn.utils.validation import validate_data as validate_data
except ImportError as error:
    raise missing_package(
        "sklearn", "tables", "GroupRegressor and GroupClassifier need scikit-learn 1.6 or newer"
    ) from error
