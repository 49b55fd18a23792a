"""Looks: each learner its own, the same everywhere, told apart in greyscale and by colour-blind readers."""

import itertools

import numpy as np
import pytest

from quickstudy.report.palette import COLOURS, PALETTE, look, looks
from quickstudy.report.tables import PARTS

# Machado et al. 2009: what eyes without red or green cones see of linear light.
EYES = {
    "all cones": np.eye(3),
    "no red cones": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green cones": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}


def lightness_and_hue(colour: str, eyes: str) -> np.ndarray:
    """CIE Lab of `#RRGGBB`."""
    light = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(
        EYES[eyes] @ light, 0, 1
    )
    x, y, z = np.cbrt(np.maximum(xyz / np.array([0.9505, 1.0, 1.089]), 1e-6))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_line_style_and_marker_alone_tell_every_learner_from_every_other() -> None:
    """As in greyscale."""
    found = looks([*PARTS, *(f"mine {i}" for i in range(60 - len(PARTS)))])
    assert len(found) == 60
    assert len({(each.style, each.marker) for each in found.values()}) == 60


def test_no_colour_is_used_twice_while_one_is_free() -> None:
    found = looks([f"mine {i}" for i in range(len(PALETTE))])
    assert len({each.colour for each in found.values()}) == len(PALETTE)


@pytest.mark.parametrize("eyes", EYES)
def test_the_first_seven_colours_differ_for_everybody(eyes: str) -> None:
    seen = [lightness_and_hue(colour, eyes) for colour in PALETTE[:7]]
    least = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert least > (20 if eyes == "all cones" else 7)


def test_a_learner_looks_the_same_whoever_is_beside_it() -> None:
    alone = look("maml")
    assert looks(["Neural Process", "mine", "MAML"])["MAML"] == alone == looks(["maml"])["maml"]
    assert looks([f"mine {i}" for i in range(20)] + ["cnp"])["cnp"] == look("cnp")


def test_the_same_learner_twice_keeps_its_colour_and_no_more() -> None:
    found = looks(["seed 0", "seed 1", "other"], {"seed 0": "maml", "seed 1": "maml"})
    first, second, other = found["seed 0"], found["seed 1"], found["other"]
    assert first.colour == second.colour == COLOURS["maml"] != other.colour
    assert first.marker != second.marker and first.style != second.style


def test_looks_do_not_depend_on_the_order_of_sets() -> None:
    names = [f"mine {i}" for i in range(15)]
    assert looks(names) == looks(names) and list(looks(names)) == names
