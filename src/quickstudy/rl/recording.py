"""The record of a rollout, filled step by step and then turned into episodes."""

import math
from typing import Any, final

import torch
from torch import Tensor

from quickstudy.rl.environment import Step
from quickstudy.rl.episodes import Episodes


@final
class Recording:
    """Preallocated tensors for `H` steps of `E` environments of `T` tasks.

    Args:
        steps: H.
        observation, outputs, action: those of the first step, `[T, E, ...]`, for shapes and types.
    """

    def __init__(self, steps: int, observation: Tensor, outputs: Tensor, action: Tensor):
        like = (observation, outputs, action, observation)
        self.observation, self.outputs, self.action, self.next_observation = (
            t.new_zeros(steps, *t.shape) for t in like
        )
        self.reward = outputs.new_zeros(steps, *outputs.shape[:2])
        self.terminated, self.truncated = (torch.zeros_like(self.reward, dtype=torch.bool) for _ in range(2))
        self.info: dict[str, Tensor] = {}
        kept = [self.observation, self.outputs, self.action, self.next_observation]
        kept += [self.reward, self.terminated, self.truncated]
        self._places = list(zip(*(tensor.unbind() for tensor in kept), strict=True))

    def decide(self, h: int, observation: Tensor, outputs: Tensor, action: Tensor) -> None:
        """Store what was seen and done at step `h`. Call it before the step, which may change these tensors."""
        for place, value in zip(self._places[h], (observation, outputs, action), strict=False):
            place.copy_(value)

    def receive(self, h: int, step: Step) -> None:
        """Store the result of step `h`. Call it before the next reset or step, which may change its tensors."""
        for place, value in zip(self._places[h][3:], step[:4], strict=True):
            place.copy_(value)
        for name, value in step.info.items():
            if isinstance(value, Tensor) and value.shape[:2] == self.reward.shape[1:]:
                if name not in self.info:
                    self.info[name] = value.new_zeros(len(self.reward), *value.shape)
                self.info[name][h] = value

    def episodes(self, policy: Any, restart: bool, keep_unfinished: bool) -> Episodes:
        """The episodes, by task and environment.

        Args:
            policy: the policy that acted.
            restart: whether rows hold several episodes. If so, steps after the last end are masked.
            keep_unfinished: whether the steps after the last end are kept, as an episode truncated at the last step.
        """
        done = self.terminated | self.truncated
        ends = done.long().cumsum(0)
        if not restart:
            alive = ends - done.long() == 0
        elif keep_unfinished:
            self.truncated[-1] |= ~done[-1]
            alive = torch.ones_like(done)
        else:
            alive = ends - done.long() < ends[-1]
        real = {"observation": self.observation, "outputs": self.outputs}
        _check_finite(real | {"next observation": self.next_observation, "reward": self.reward}, alive)
        log_prob = policy.log_prob(self.outputs, self.action)
        fields = [self.observation, self.action, self.reward, self.next_observation, log_prob]
        fields += [self.terminated, self.truncated, alive, _time(done, restart)]
        info = {name: _by_task(value, alive) for name, value in self.info.items()}
        return Episodes._make([*(_by_task(field, alive) for field in fields), info])


def check_outputs(observation: Tensor, outputs: Tensor, over: Tensor, step: int) -> None:
    """Raise ValueError if the policy's outputs `[T, E, k]` are NaN where an episode is not over."""
    if math.isnan(float(outputs.sum())):  # one pass over the values; infinities of both signs are excluded below
        _check_finite({"observation": observation[None], "outputs": outputs[None]}, ~over[None], step)


def _check_finite(values: dict[str, Tensor], real: Tensor, first: int = 0) -> None:
    """Raise ValueError for the first value `[H, T, E, ...]` that is not finite where `real [H, T, E]` is True.

    The outputs of a policy may be infinite: a logit of -inf excludes an action.
    """
    for name, value in values.items():
        if not value.is_floating_point() or math.isfinite(float(value.sum())):
            continue
        wrong = value.isnan() if name == "outputs" else ~value.isfinite()
        bad = wrong.reshape(*real.shape, -1).any(-1).logical_and(real).nonzero()
        if len(bad):
            step, task, environment = bad[0].tolist()
            source, cure = _SOURCES[name]
            found = value[step, task, environment].flatten()
            what = "NaN" if bool(found.isnan().any()) else f"{float(found[~found.isfinite()][0])}"
            place = f"task {task}, environment {environment}, step {first + step}"
            raise ValueError(f"{source} is {what} in {place}; {cure}")


_ENVIRONMENT = "look at its dynamics there, and at the size of the actions"
_SOURCES = {
    "observation": ("the environment's observation", _ENVIRONMENT),
    "outputs": ("the policy's action", "its weights may have diverged: try a smaller learning rate"),
    "next observation": ("the environment's observation after the action", _ENVIRONMENT),
    "reward": ("the environment's reward", _ENVIRONMENT),
}


def _time(done: Tensor, restart: bool) -> Tensor:
    """Steps since the episode began, `[H, T, E]`."""
    step = torch.arange(len(done), device=done.device)[:, None, None].expand(done.shape)
    if not restart:
        return step
    began = torch.zeros_like(step)
    began[1:] = (step[1:] * done[:-1]).cummax(0).values
    return step - began


def _by_task(field: Tensor, alive: Tensor) -> Tensor:
    """`field [H, T, E, ...]` as `[T, E, H, ...]`, 0 where not alive."""
    real = alive.reshape(*alive.shape, *[1] * (field.dim() - 3))
    return torch.where(real, field, field.new_zeros(())).movedim(0, 2).contiguous()
