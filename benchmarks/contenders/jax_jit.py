"""JAX: sampling, `vmap` over tasks of an inner loop with `jax.grad`, and optax's Adam in one jitted call a step."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import torch
from jax import lax
from jax import numpy as jnp
from torch import Tensor

import quickstudy as qs
from benchmarks.problems import OUTER_RATE, Contender, Problem

Params = list[Any]


def build(problem: Problem) -> Contender:
    """See the module."""
    if problem.kind not in ("mlp", "conv"):
        raise NotImplementedError(f"not written for a {problem.kind}")
    forward, sample = (_mlp, _sinusoids) if problem.kind == "mlp" else (_conv4, _images)
    optimizer = optax.adam(OUTER_RATE)

    def loss(params: Params, x: Any, y: Any) -> Any:
        output = forward(params, x)
        if jnp.issubdtype(y.dtype, jnp.integer):
            return optax.softmax_cross_entropy_with_integer_labels(output, y).mean()
        return jnp.square(output - y).mean()

    def task_loss(params: Params, x: Any, y: Any, query_x: Any, query_y: Any) -> Any:
        for _ in range(problem.steps):
            grads = jax.grad(loss)(params, x, y)
            params = jax.tree.map(lambda p, g: p - problem.lr * g, params, grads)
        return loss(params, query_x, query_y)

    def meta_loss(params: Params, batch: tuple[Any, ...]) -> Any:
        return jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *batch).mean()

    @jax.jit
    def update(params: Params, state: Any, key: Any) -> tuple[Params, Any, Any, Any]:
        key, draw = jax.random.split(key)
        value, grads = jax.value_and_grad(meta_loss)(params, sample(problem, draw))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, key, value

    params = [jnp.asarray(p.detach().numpy()) for p in problem.network.parameters()]
    training = [params, optimizer.init(params), jax.random.PRNGKey(0)]

    def step() -> None:
        training[0], training[1], training[2], value = update(*training)
        value.block_until_ready()

    return Contender(_on_torch(jax.jit(jax.grad(meta_loss)), params), step)


def _on_torch(gradient: Callable[..., Params], params: Params) -> Callable[[qs.Tasks], list[Tensor]]:
    def of_tasks(tasks: qs.Tasks) -> list[Tensor]:
        tensors = (tasks.support.x, tasks.support.y, tasks.query.x, tasks.query.y)
        batch = tuple(jnp.asarray(t.numpy()) for t in tensors)
        return [torch.from_numpy(np.array(g)) for g in gradient(params, batch)]

    return of_tasks


def _mlp(params: Params, x: Any) -> Any:
    for i in range(0, len(params), 2):
        x = x @ params[i].T + params[i + 1]
        x = jax.nn.relu(x) if i + 2 < len(params) else x
    return x


def _conv4(params: Params, x: Any) -> Any:
    for i in range(0, 16, 4):
        kernel, bias, scale, shift = params[i : i + 4]
        x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        x = x + bias[:, None, None]
        mean = x.mean((0, 2, 3), keepdims=True)
        variance = jnp.square(x - mean).mean((0, 2, 3), keepdims=True)
        x = (x - mean) * lax.rsqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]
        x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.reshape(len(x), -1) @ params[16].T + params[17]


def _sinusoids(problem: Problem, key: Any) -> tuple[Any, ...]:
    draws = jax.random.uniform(key, (problem.tasks, 2 + problem.support + problem.query, 1))
    amplitude, phase = 0.1 + 4.9 * draws[:, :1], jnp.pi * draws[:, 1:2]
    x = 10 * draws[:, 2:] - 5
    y = amplitude * jnp.sin(x - phase)
    n = problem.support
    return x[:, :n], y[:, :n], x[:, n:], y[:, n:]


def _images(problem: Problem, key: Any) -> tuple[Any, ...]:
    n, side = problem.support, problem.size["side"]
    images = jax.random.normal(key, (problem.tasks, n + problem.query, 1, side, side))
    labels = jnp.broadcast_to(jnp.arange(n + problem.query) % 5, (problem.tasks, n + problem.query))
    return images[:, :n], labels[:, :n], images[:, n:], labels[:, n:]
