"""Checks of the contracts for any class: whether a learner, task family or environment has the required properties.

`check_learner`, `check_family` and `check_environment` check every property that the package's own classes are tested
for, and return a report. `learner_checks`, `family_checks` and `environment_checks` return the properties one by one:

    @pytest.mark.parametrize("check", qs.testing.learner_checks(MyLearner), ids=str)
    def test_my_learner(check):
        check()

Nothing here needs pytest.
"""

from quickstudy.testing.checks import Check as Check
from quickstudy.testing.environments import check_environment as check_environment
from quickstudy.testing.environments import environment_checks as environment_checks
from quickstudy.testing.families import check_family as check_family
from quickstudy.testing.families import family_checks as family_checks
from quickstudy.testing.learners import check_learner as check_learner
from quickstudy.testing.learners import learner_checks as learner_checks
from quickstudy.testing.report import ContractError as ContractError
from quickstudy.testing.report import Report as Report
from quickstudy.testing.report import Row as Row
