"""Any environment as a `gymnasium.vector.VectorEnv`: one axis of environments, numpy arrays, automatic resets."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.learner import Split
from quickstudy.rl.environment import Environment, choices_of
from quickstudy.rl.envs.task_list import as_list, as_tensors


@final
class VectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """`T` tasks with `E` environments each, as `T * E` sub-environments: those of task 0 first, then those of task 1.

    Actions, observations and rewards are numpy arrays; those that are returned belong to the caller. If no tasks were
    set, the first `reset` draws them, and each `reset(seed=...)` draws them again, so that everything follows from the
    seed. Tasks set by `reset_task`, or in `env` beforehand, are kept.

    Args:
        env: the environments.
        num_tasks: T; None is the number of tasks set in `env`, or 1.
        autoreset_mode: as in gymnasium. "NextStep": the step after the end of an episode starts a new one, ignores the
            action and has reward 0. "SameStep": the last step of an episode starts a new one, and
            `info["final_obs"]` and `info["final_info"]` hold the end of the old one. "Disabled": only
            `reset(options={"reset_mask": done})` starts new ones.
        render_mode: None, or "rgb_array": `render()` gives a picture of every sub-environment.
        split: the split from which tasks are drawn.

    Raises:
        ValueError: for unknown modes.

    >>> from quickstudy.rl.envs.navigation2d import Navigation2D
    >>> envs = VectorEnv(Navigation2D(num_envs=2), num_tasks=3)
    >>> observation, info = envs.reset(seed=0)
    >>> envs.reset_task(envs.sample_tasks(3))
    >>> observation, info = envs.reset()
    >>> observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    >>> observation.shape, reward.shape
    ((6, 2), (6,))
    """

    def __init__(
        self,
        env: Environment,
        *,
        num_tasks: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        split: Split = "train",
    ):
        self.env, self.num_tasks = env, num_tasks or env.num_tasks or 1
        self.num_envs = self.num_tasks * env.num_envs
        self.mode, self.render_mode, self._split = AutoresetMode(autoreset_mode), render_mode, split
        modes = ["rgb_array"] if hasattr(env, "render") else []
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"render_mode={render_mode!r}; {type(env).__name__} supports {modes or 'none'}")
        self.metadata = {"render_modes": modes, "render_fps": 30, "autoreset_mode": self.mode}
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(env.observation_space, self.num_envs)
        self.action_space = batch_space(env.action_space, self.num_envs)
        self._chosen = env.num_tasks == self.num_tasks
        self._generator: torch.Generator | None = None
        self._done: Tensor | None = None

    def sample_tasks(self, num_tasks: int) -> list[dict[str, Any]]:
        """Draw tasks, each as a dictionary."""
        return as_list(self.env.sample_tasks(num_tasks, split=self._split, generator=self._chance(None)))

    def reset_task(self, task: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Set the tasks: a list of T dictionaries, or one dictionary for all. Call `reset` before the next step."""
        self.env.set_tasks(as_tensors(task, self.num_tasks))
        self._chosen, self._done = True, None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: seed of all random numbers from now on; None keeps the present generator. A list of `T * E` numbers,
                which gymnasium allows, is one seed as a whole, as all sub-environments draw from one generator.
            options: `{"reset_mask": bool array [T * E]}` resets only the sub-environments where it is True.
        """
        seed = self._one_seed(seed)
        super().reset(seed=seed)
        mask = None if not options else options.get("reset_mask")
        given = None if mask is None else self._mask(mask)
        chance = self._chance(seed)
        if given is None and not self._chosen and (seed is not None or self._done is None):
            self.env.set_tasks(self.env.sample_tasks(self.num_tasks, split=self._split, generator=chance))
        observation, info = self.env.reset(given, generator=chance)
        if given is None or self._done is None:
            self._done = torch.zeros(observation.shape[:2], dtype=torch.bool, device=observation.device)
        else:
            self._done = self._done & ~given.to(self._done.device)
        return self._flat(observation), self._infos(info)

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take one step in all; returns observations `[T * E, *do]`, rewards, terminations, truncations and infos.

        Raises:
            RuntimeError: before the first reset, and after `reset_task`.
        """
        if self._done is None:
            raise RuntimeError("step before reset: no episode has begun; call reset() first")
        again = self._done if self.mode is AutoresetMode.NEXT_STEP and bool(self._done.any()) else None
        step = self.env.step(self._actions(actions, again))
        # copies, as a reset may change the tensors of the step
        observation, reward, terminated, truncated = (self._flat(part) for part in step[:4])
        infos, done = self._infos(step.info), step.terminated | step.truncated
        if again is not None:
            observation = self._flat(self.env.reset(again)[0])
            ignored = self._flat(again)
            terminated, truncated, done = terminated & ~ignored, truncated & ~ignored, done & ~again
        elif self.mode is AutoresetMode.SAME_STEP and bool(done.any()):
            last, (new, began) = observation, self.env.reset(done)
            observation = self._flat(new)
            infos = _with_ends(infos, last, self._flat(done)) | self._infos(began)
            done = torch.zeros_like(done)
        self._done = done
        return observation, reward, terminated, truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture `[height, width, 3]` of every sub-environment; None unless `render_mode` is "rgb_array"."""
        if self.render_mode is None:
            return None
        places = np.ndindex(self.num_tasks, self.env.num_envs)
        return tuple(np.array(self.env.render(*place)) for place in places)  # type: ignore[attr-defined]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments, if they have `close`."""
        getattr(self.env, "close", lambda: None)()

    def _one_seed(self, seed: Any) -> int | None:
        """The seed that a list of seeds stands for; other seeds are returned as they are."""
        if seed is None or isinstance(seed, int | np.integer):
            return None if seed is None else int(seed)
        seeds = list(seed)
        if len(seeds) != self.num_envs or len({each is None for each in seeds}) > 1:
            raise ValueError(
                f"seed={seeds}; expected one number, or {self.num_envs} of them, one for each sub-environment"
            )
        return None if seeds[0] is None else int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 2)

    def _chance(self, seed: int | None) -> torch.Generator:
        if seed is not None or self._generator is None:
            number = int(self.np_random.integers(2**62)) if seed is None else seed
            self._generator = torch.Generator().manual_seed(number)
        return self._generator

    def _actions(self, actions: Any, ignored: Tensor | None) -> Tensor:
        given = torch.as_tensor(np.array(actions))
        if given.shape[:1] != (self.num_envs,):
            raise ValueError(
                f"actions have shape {list(given.shape)}; expected {self.num_envs} of them: {self.action_space}"
            )
        if choices_of(self.single_action_space):
            given = given.long() if not given.is_floating_point() else given
        given = given.reshape(self.num_tasks, self.env.num_envs, *given.shape[1:])
        if ignored is None:
            return given
        return given.masked_fill(ignored.to(given.device).reshape(*ignored.shape, *[1] * (given.dim() - 2)), 0)

    def _mask(self, mask: Any) -> Tensor:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            what = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise ValueError(f'options["reset_mask"] is {what}; expected a bool array [{self.num_envs}]')
        return torch.as_tensor(mask.reshape(self.num_tasks, self.env.num_envs).copy())

    def _flat(self, values: Tensor) -> NDArray[Any]:
        """`values [T, E, ...]` as an array `[T * E, ...]` of its own, which later steps do not change."""
        return np.array(values.flatten(0, 1).cpu().numpy())

    def _infos(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Each tensor of `info` as an array, with gymnasium's mask `_name` of the sub-environments that have it."""
        flat = {k: self._flat(v) for k, v in info.items() if isinstance(v, Tensor)}
        return flat | {f"_{k}": np.ones(self.num_envs, dtype=np.bool_) for k in flat}


def _with_ends(infos: dict[str, Any], last: NDArray[Any], done: NDArray[np.bool_]) -> dict[str, Any]:
    """`infos` of a step in which episodes ended and new ones began: adds gymnasium's final observations and infos.

    Args:
        infos: the infos of the step.
        last: the observations of the step, before the reset.
        done: `[T * E]` bool, True where an episode ended.
    """
    final = np.full(len(done), None, dtype=object)
    for i in np.flatnonzero(done):
        final[i] = last[i]
    ends = {k: done & v if k.startswith("_") else v for k, v in infos.items()}
    return infos | {"final_obs": final, "_final_obs": done, "final_info": ends, "_final_info": done.copy()}
