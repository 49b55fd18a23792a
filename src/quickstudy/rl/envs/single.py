"""One environment of one task as a `gymnasium.Env`."""

from collections.abc import Mapping
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from quickstudy.learner import Split
from quickstudy.rl.environment import Environment
from quickstudy.rl.envs.vector import VectorEnv


@final
class SingleEnv(gymnasium.Env[Any, Any]):
    """An environment with numpy arrays in place of tensors and one episode at a time.

    `reset(seed=...)` draws a new task, unless `reset_task` has set one.

    Args:
        env: an environment with `num_envs=1`.
        render_mode: None, or "rgb_array".
        split: the split from which tasks are drawn.

    Raises:
        ValueError: for several environments, and for unknown render modes.

    >>> from quickstudy.rl.envs.cartpole import CartPole
    >>> env = SingleEnv(CartPole(num_envs=1))
    >>> env.reset_task({"masscart": 1.0, "masspole": 0.1, "length": 0.5, "force_mag": 10.0, "gravity": 9.8})
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(1)
    >>> observation.shape, reward, terminated, truncated
    ((4,), 1.0, False, False)
    """

    def __init__(self, env: Environment, *, render_mode: str | None = None, split: Split = "train"):
        if env.num_envs != 1 or env.num_tasks > 1:
            raise ValueError(f"{type(env).__name__} has {env.num_envs} environments a task; give one with num_envs=1")
        self._vector = VectorEnv(
            env, num_tasks=1, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode, split=split
        )
        self.metadata = {k: self._vector.metadata[k] for k in ("render_modes", "render_fps")}
        self.render_mode = render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def sample_tasks(self, num_tasks: int) -> list[dict[str, Any]]:
        """Draw tasks, each as a dictionary."""
        return self._vector.sample_tasks(num_tasks)

    def reset_task(self, task: Mapping[str, Any]) -> None:
        """Set the task; call `reset` before the next step."""
        self._vector.reset_task(task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start a new episode; `options` is not used."""
        super().reset(seed=seed)
        observation, info = self._vector.reset(seed=seed)
        return observation[0].copy(), _own(info)

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Take one step with `action`."""
        observation, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        return observation[0].copy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _own(info)

    def render(self) -> Any:
        """A picture `[height, width, 3]`; None unless `render_mode` is "rgb_array"."""
        frames = self._vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the environment."""
        self._vector.close()


def _own(info: dict[str, Any]) -> dict[str, Any]:
    return {k: v[0].copy() for k, v in info.items() if not k.startswith("_")}
