"""Pictures of robots, drawn with numpy from the places of their limbs: they need neither a screen nor OpenGL."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.rl.envs.locomotion.simulation import import_mujoco
from quickstudy.rl.envs.rendering import BLACK, BLUE, GREEN, GREY, ORANGE, Canvas, Color, Point

_TILT = 0.5  # sine of the angle by which the camera looks down on robots that turn


def robot(model: Any, position: NDArray[np.float64], *, planar: bool, goal: Point | None = None) -> NDArray[np.uint8]:
    """A picture `[height, width, 3]`, 4 m wide, that follows the robot; marks on the floor are 1 m apart.

    Args:
        model: the robot.
        position: its generalized position `[nq]`.
        planar: whether it moves in the plane of x and height, and is seen from the side. Others are seen from above.
        goal: a place (x, y) on the floor to be marked.
    """
    mujoco = import_mujoco()
    data = mujoco.MjData(model)
    data.qpos[:] = position
    mujoco.mj_kinematics(model, data)
    middle = position[:2] * (1, not planar)
    low, high = (-2.0, -0.3 if planar else -1.2), (2.0, 2.0 if planar else 1.9)
    canvas = Canvas(low, high, 400)

    def seen(place: NDArray[np.float64]) -> Point:
        x, y, z = place[0] - middle[0], place[1] - middle[1], place[2]
        return (float(x), float(z)) if planar else (float(x), float(_TILT * y + (1 - _TILT**2) ** 0.5 * z))

    _floor(canvas, seen, middle, planar)
    if goal is not None:
        canvas.line(seen(np.array([*goal, 0.0])), seen(np.array([*goal, 0.0])), 0.3, GREEN)
    for start, end, width, color in sorted(_limbs(mujoco, model, data), key=lambda limb: _depth(limb, planar)):
        canvas.line(seen(start), seen(end), width, color)
    return canvas.pixels()


def _floor(canvas: Canvas, seen: Any, middle: NDArray[np.float64], planar: bool) -> None:
    """The floor, with marks at whole metres."""
    places = np.floor(middle)[:, None] + np.arange(-5, 7)
    if planar:
        canvas.line((-2.0, 0.0), (2.0, 0.0), 0.02, BLACK)
        for x in places[0]:
            below = seen(np.array([x, 0.0, -0.12]))
            canvas.line(seen(np.array([x, 0.0, 0.0])), below, 0.03 if x % 5 else 0.08, BLACK)
        return
    for x in places[0]:
        canvas.line(seen(np.array([x, places[1, 0], 0.0])), seen(np.array([x, places[1, -1], 0.0])), 0.02, GREY)
    for y in places[1]:
        canvas.line(seen(np.array([places[0, 0], y, 0.0])), seen(np.array([places[0, -1], y, 0.0])), 0.02, GREY)


Limb = tuple[NDArray[np.float64], NDArray[np.float64], float, Color]


def _limbs(mujoco: Any, model: Any, data: Any) -> list[Limb]:
    """The ends, width and colour of each limb: capsules, and balls, which are capsules without length."""
    limbs: list[Limb] = []
    capsule, ball = int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_SPHERE)
    for geom in range(model.ngeom):
        kind, size = model.geom_type[geom], model.geom_size[geom]
        if kind not in (capsule, ball):
            continue
        half = size[1] if kind == capsule else 0.0
        middle, along = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)[:, 2] * half
        root = model.geom_bodyid[geom] == 1
        limbs.append((middle - along, middle + along, 2 * float(size[0]), ORANGE if root else BLUE))
    return limbs


def _depth(limb: Limb, planar: bool) -> float:
    """Limbs are drawn in this order, the nearest to the camera last."""
    middle = (limb[0] + limb[1]) / 2
    return float(-middle[1] if planar else middle[2] - middle[1])
