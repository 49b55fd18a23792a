"""Acting in all environments of all tasks at once, each task by its own policy."""

import math
from typing import Any

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from quickstudy.inner.adapted import Adapted
from quickstudy.learner import check_generator, check_steps
from quickstudy.rl.acting import acting
from quickstudy.rl.environment import Environment
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.recording import Recording, refuse_nan


@torch.no_grad()
def rollout(
    environment: Environment,
    policy: Any,
    *,
    adapted: Adapted | None = None,
    generator: torch.Generator | None = None,
    restart: bool = False,
    steps: int | None = None,
    keep_unfinished: bool = False,
    greedy: bool = False,
    noise: Tensor | None = None,
) -> Episodes:
    """Episodes of the `T` tasks that the environment is set to: one batched forward pass a step, and no graph.

    Without `restart`, every row holds one episode. With it, a row starts another one whenever it is done, for `steps`
    steps, and only finished episodes count, as in the code of Finn et al. 2017: the tail of each row is masked.

    Args:
        environment: with its tasks set.
        policy: a module of the form of `quickstudy.rl.policy.Policy`; shared by all tasks where `adapted` is None.
        adapted: what an inner loop made of `policy`: every task acts by its own.
        generator: where all chance comes from: it goes to `environment.reset` and draws the noise of the actions.
        restart: start new episodes in rows that are done.
        steps: `H`, with `restart`; `environment.horizon` by default, and always without it.
        keep_unfinished: with `restart`, keep each row's last episode too, marked as truncated.
        greedy: the likeliest action in place of a draw.
        noise: `[H, T, E, n]`, the chance in the actions, in place of draws; see `policy.noise`.

    Returns:
        Episodes `[T, E, H]`. Where an episode ends early the rest of its row is masked; `H` stays, so shapes do.

    Raises:
        ValueError: for NaN observations, outputs of the policy or rewards, naming task, environment and step; for
            actions that do not fit the environment's action space.

    >>> import quickstudy as qs
    >>> from quickstudy.rl.envs.cartpole import CartPole
    >>> from quickstudy.rl.policy import CategoricalPolicy
    >>> environment, generator = CartPole(num_envs=5, horizon=50), torch.Generator().manual_seed(0)
    >>> environment.set_tasks(environment.sample_tasks(3, generator=generator))
    >>> episodes = rollout(environment, CategoricalPolicy(qs.nets.MLP(4, [8], 2)), generator=generator)
    >>> episodes.observation.shape, episodes.returns().shape
    (torch.Size([3, 5, 50, 4]), torch.Size([3, 5]))
    """
    steps = _check(environment, generator, restart, steps, keep_unfinished)
    act = acting(policy, adapted, environment.num_tasks)
    observation, _ = environment.reset(generator=generator)
    look = observation.device.type == "cpu"  # elsewhere every look at a value makes the device wait
    over = torch.zeros(observation.shape[:2], dtype=torch.bool, device=observation.device)
    recording: Recording | None = None
    for h in range(steps):
        outputs = act(observation)
        if recording is None:
            noise = None if greedy else _noise(policy, outputs, noise, steps, generator)
            action = _first_action(environment, policy, outputs, noise)
            recording = Recording(steps, observation, outputs, action)
        else:
            action = policy.mode(outputs) if noise is None else policy.act(outputs, noise[h])
        if look:
            refuse_nan(observation, outputs, over, h)
        step = environment.step(action)
        recording.write(h, observation, outputs, action, step)
        observation, done = step.observation, step.terminated | step.truncated
        if restart:
            if h + 1 < steps and bool(done.any()):
                observation, _ = environment.reset(done)
            continue
        over = over | done
        if (look or h % 16 == 15) and bool(over.all()):
            break
    assert recording is not None
    return recording.episodes(policy, restart, keep_unfinished)


def _noise(policy: Any, outputs: Tensor, given: Tensor | None, steps: int, generator: Any) -> Tensor:
    """All of the rollout's at once: one draw is as dear as a hundred."""
    if given is None:
        return policy.noise(outputs, steps=steps, generator=generator)
    if given.shape[:3] != (steps, *outputs.shape[:2]):
        raise ValueError(
            f"noise has shape {list(given.shape)}; expected [H, T, E, n] with [H, T, E] = "
            f"{[steps, *outputs.shape[:2]]}, as policy.noise(outputs, steps={steps}) gives"
        )
    return given


def _first_action(environment: Environment, policy: Any, outputs: Tensor, noise: Tensor | None) -> Tensor:
    """An action, that fits the environment; ValueError otherwise."""
    action, space = policy.mode(outputs) if noise is None else policy.act(outputs, noise[0]), environment.action_space
    if isinstance(space, Discrete):
        if action.is_floating_point() or outputs.shape[-1] != space.n:
            raise ValueError(
                f"the environment has {space.n} discrete actions and the policy's outputs are {list(outputs.shape)}; "
                f"use CategoricalPolicy with a network of {space.n} outputs"
            )
    elif not action.is_floating_point() or action.shape[2:] != space.shape:
        raise ValueError(
            f"the environment takes actions of shape {list(space.shape or ())} and the policy gave "
            f"{action.dtype} {list(action.shape[2:])}; use GaussianPolicy, action_dim={math.prod(space.shape or ())}"
        )
    return action


def _check(environment: Any, generator: Any, restart: bool, steps: int | None, keep_unfinished: bool) -> int:
    check_generator(generator)
    if not environment.num_tasks:
        raise ValueError("the environment has no tasks; call environment.set_tasks(environment.sample_tasks(...))")
    if not restart and (steps is not None or keep_unfinished):
        raise ValueError(
            "steps= and keep_unfinished= are for restart=True; without it every row holds one episode of at most "
            f"environment.horizon = {environment.horizon} steps"
        )
    steps = environment.horizon if steps is None else check_steps(steps)
    if steps < 1:
        raise ValueError(f"steps={steps}; expected at least 1")
    return steps
