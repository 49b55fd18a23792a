"""Tasks in other units are the same tasks."""

import math

import pytest
import torch

from quickstudy.tasks import Classification, GaussianProcess, Rescaled


def test_a_gaussian_process_in_other_units_is_a_gaussian_process() -> None:
    """Its exact posterior, in the new units, has the densities that `info` promises."""
    plain = GaussianProcess(dx=2)
    family = Rescaled(plain, x_center=1.0, x_scale=4.0, y_center=0.0, y_scale=0.5)
    seeded = {"support": 6, "query": 9, "split": "test"}
    before = plain.sample(5, **seeded, generator=torch.Generator().manual_seed(0))
    after = family.sample(5, **seeded, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(after.query.x * 4 + 1, before.query.x)
    torch.testing.assert_close(after.support.y * 0.5, before.support.y)
    info = before.info | {k: before.info[k] / 4 for k in ("lengthscale",)}
    info |= {k: before.info[k] / 0.5 for k in ("scale", "noise")}
    belief = plain.posterior(after.support, info)(after.query.x)
    torch.testing.assert_close(
        belief.log_prob(after.query.y).float(), after.info["oracle_log_prob"], atol=2e-3, rtol=1e-3
    )
    more = after.info["oracle_joint_log_prob"] - before.info["oracle_joint_log_prob"]
    torch.testing.assert_close(more, torch.full((5,), 9 * math.log(0.5)), atol=1e-3, rtol=0)
    assert family.dx == 2 and family.dy == 1


@pytest.mark.parametrize("option", [{"x_scale": 0.0}, {"y_scale": -1.0}, {"x_center": math.inf}, {"y_center": "left"}])
def test_bad_options(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Rescaled(GaussianProcess(), **option)  # type: ignore[arg-type]


def test_labels_have_no_unit() -> None:
    pictures = torch.randn(24, 3)
    family = Rescaled(Classification(pictures, torch.arange(6).repeat_interleave(4), ways=2, fractions=(1.0, 0.0, 0.0)))
    with pytest.raises(TypeError, match=r"Classification drew y of type torch.int64, which has no unit"):
        family.sample(2, support=1, query=1)
