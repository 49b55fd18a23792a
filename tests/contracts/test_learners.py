"""What every learner promises (`quickstudy.testing`), over the table in learner_table.py."""

from unittest import SkipTest

import pytest
from learner_table import EXCEPTIONS, GRADIENT, LEARNERS, MANY_POINTS, WITHOUT, solved

from quickstudy.testing import learner_checks

CHECKS = {
    name: {
        check.name: check
        for check in learner_checks(make, many_points=MANY_POINTS.get(name, 10_000), skip=EXCEPTIONS.get(name))
    }
    for name, make in LEARNERS.items()
}
CHECKS["iMAML"][GRADIENT] = {check.name: check for check in learner_checks(solved)}[GRADIENT]
PROPERTIES = list(CHECKS["MAML"])


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("property", PROPERTIES)
def test_learner_keeps_the_contract(name: str, property: str) -> None:
    """A property that does not apply is one of those that the table says."""
    if name in WITHOUT.get(property, ()) or property in EXCEPTIONS.get(name, ()):
        with pytest.raises(SkipTest):
            CHECKS[name][property]()
        return
    try:
        CHECKS[name][property]()
    except SkipTest as reason:
        pytest.fail(f"not checked: {reason}")


def test_the_table_knows_its_names() -> None:
    assert len(PROPERTIES) >= 26 and set(WITHOUT) <= set(PROPERTIES)
    assert all(names <= set(LEARNERS) for names in WITHOUT.values())


def test_an_implicit_gradient_refuses_transforms_by_name() -> None:
    with pytest.raises(SkipTest, match=r"inside a transform of torch\.func"):
        CHECKS["iMAML"]["torch func gives the same gradient"]()
