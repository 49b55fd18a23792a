"""A learner as the agent that Meta-World's own evaluation asks for."""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstudy.rl.actor import Actor
from quickstudy.rl.episodes import Episodes


@final
class MetaWorldAgent:
    """A learner that adapts by gradient steps, for `metaworld.evaluation.metalearning_evaluation`.

    Each of the vector environments is a task: the policies act, adapt once to `adaptation_episodes` episodes of each,
    and act again. In evaluation the most probable actions are taken. Meta-World does not tell the observation after the
    last step of an episode; the one before stands in its place.

    Args:
        learner: a learner whose `actor()` adapts by gradient steps, such as `MAMLTRPO`.
        seed: seed of the actions.

    Raises:
        TypeError: for a learner that does not adapt by gradient steps.

    >>> from metaworld import make_ml_envs_test  # doctest: +SKIP
    >>> from metaworld.evaluation import metalearning_evaluation  # doctest: +SKIP
    >>> metalearning_evaluation(MetaWorldAgent(learner), make_ml_envs_test("ML10", seed=0))  # doctest: +SKIP
    """

    def __init__(self, learner: nn.Module, *, seed: int = 0):
        made = learner.actor() if callable(getattr(learner, "actor", None)) else None  # type: ignore[operator]
        if not isinstance(made, Actor):
            raise TypeError(
                f"learner is a {type(learner).__name__}; expected one that adapts by gradient steps, such as "
                "quickstudy.rl.MAMLTRPO"
            )
        self._first, self._actor, self._generator = made, made, torch.Generator().manual_seed(seed)
        self._steps: list[Any] = []

    def init(self) -> None:
        """Forget all tasks."""
        self._actor, self._steps = self._first, []

    def reset(self, env_mask: NDArray[np.bool_]) -> None:
        """Nothing: the policies have no memory within an episode."""

    def adapt_action(self, observations: NDArray[np.float64]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Draw actions `[T, da]` at `observations [T, do]`, and tell their log-probabilities `[T]`."""
        outputs = self._outputs(observations)
        action = self._first.policy.sample(outputs, self._generator)
        return action.numpy(), {"log_prob": self._first.policy.log_prob(outputs, action).numpy()}

    def step(self, timestep: Any) -> None:
        """Record a `metaworld.evaluation.Timestep`."""
        self._steps.append(timestep)

    def adapt(self) -> None:
        """Take an inner step on what was recorded."""
        self._actor, self._steps = self._actor.adapt(_episodes(self._steps)), []

    def eval_action(self, observations: NDArray[np.float64]) -> NDArray[Any]:
        """The most probable actions `[T, da]` at `observations [T, do]`."""
        action: Tensor = self._first.policy.mode(self._outputs(observations))
        return action.numpy()

    @torch.no_grad()
    def _outputs(self, observations: NDArray[np.float64]) -> Tensor:
        seen = torch.as_tensor(observations, dtype=torch.get_default_dtype())
        return self._actor(seen.unsqueeze(1)).squeeze(1)


def _episodes(steps: list[Any]) -> Episodes:
    """The recorded steps as one row of episodes for each task, `[T, 1, H]`."""
    kind = torch.get_default_dtype()

    def joined(values: list[Any], dtype: torch.dtype = kind) -> Tensor:
        return torch.stack([torch.as_tensor(np.array(value), dtype=dtype) for value in values], 1).unsqueeze(1)

    observation = joined([step.observation for step in steps])
    terminated = joined([step.terminated for step in steps], torch.bool)
    truncated = joined([step.truncated for step in steps], torch.bool)
    truncated[..., -1] |= ~terminated[..., -1]  # where the record ends, so does the episode
    done = terminated | truncated
    following = torch.cat([observation[:, :, 1:], observation[:, :, -1:]], 2)
    place = torch.arange(done.shape[2]).expand_as(done)
    ended = torch.cat([torch.full_like(place[..., :1], -1), torch.where(done, place, -1)[..., :-1]], -1)
    return Episodes(
        observation=observation,
        action=joined([step.action for step in steps]),
        reward=joined([step.reward for step in steps]),
        next_observation=torch.where(done.unsqueeze(-1), observation, following),
        log_prob=joined([step.aux_policy_outputs["log_prob"] for step in steps]),
        terminated=terminated,
        truncated=truncated,
        mask=torch.ones_like(done),
        time=place - 1 - ended.cummax(-1).values,
    )
