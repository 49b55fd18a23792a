"""The robots and tasks of the recipe."""

from typing import Any, Literal

import quickstudy as qs

Robot = Literal[
    "cheetah-direction",
    "cheetah-velocity",
    "ant-direction",
    "ant-velocity",
    "ant-goal",
    "humanoid-direction",
    "hopper",
    "walker",
]


def make(robot: Robot, *, num_envs: int, horizon: int, frame_skip: int | None, told: bool = False) -> Any:
    """The environment of this name; `told` adds the task to the observations."""
    options: dict[str, Any] = {"num_envs": num_envs, "horizon": horizon, "device": "cpu"}
    if frame_skip is not None:
        options["frame_skip"] = frame_skip
    kind, _, aim = robot.partition("-")
    if kind == "cheetah":
        env: Any = qs.rl.HalfCheetah(aim, **options)  # type: ignore[arg-type]
    elif kind == "ant":
        env = qs.rl.Ant(aim, **options)  # type: ignore[arg-type]
    elif kind == "humanoid":
        env = qs.rl.Humanoid(**options)
    else:
        env = qs.rl.Hopper(**options) if kind == "hopper" else qs.rl.Walker2d(**options)
    names = ("mass", "damping", "friction") if kind in ("hopper", "walker") else (aim,)
    return qs.rl.Informed(env, names) if told else env
