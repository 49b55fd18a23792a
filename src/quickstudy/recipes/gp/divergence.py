"""The Kullback-Leibler divergence per query point from a Gaussian process of known kernel to a learner's beliefs."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Tasks
from quickstudy.evaluation.evaluate import scores_by_size
from quickstudy.evaluation.intervals import Metric, over_tasks
from quickstudy.experiments.unseen import Unseen, between, chained, place

KLKernel = Literal["rbf", "matern52", "weakly_periodic"]
INSIDE, SHIFTED = (-2.0, 2.0), (2.0, 6.0)  # where training tasks have their points, and where it has none
MOST_SUPPORT, QUERY = 30, 50


def process_of(kernel: KLKernel, domain: tuple[float, float] = INSIDE) -> qs.tasks.GaussianProcess:
    """The process with a kernel of Bruinsma et al. 2023."""
    return replace(qs.tasks.GaussianProcess.fixed(kernel), domain=domain)


def usual_sizes(chance: torch.Generator) -> tuple[int, int]:
    """Numbers of support and query points as in training."""
    return between(0, MOST_SUPPORT, chance), QUERY


def divergences(learner: nn.Module, unseen: Unseen) -> dict[str, Metric]:
    """Scores on unseen tasks of a Gaussian process, and the divergences of the learner and of two references.

    `kl` is the mean over tasks of (log p(y | support) - log q(y | support)) / M, with p the exact posterior, q the
    learner, and both densities joint. `diagonal/kl` is that of the exact posterior without its correlations, `prior/kl`
    that of the process's prior at each point by itself.
    """
    family: Any = unseen.family
    found: dict[str, list[Tensor]] = {}
    for tasks, generator in unseen.batches(place(learner)):
        scores = scores_by_size(learner, tasks, generator=generator)
        exact = tasks.info["oracle_joint_log_prob"] / tasks.query.num_points
        rows = {
            "kl": exact - scores["joint_log_likelihood"].to(exact),
            "diagonal/kl": exact - tasks.info["oracle_log_prob"].mean(1),
            "prior/kl": exact - prior_log_likelihood(tasks),
            "mse": scores["mse"],
            "oracle_mse": (family.oracle(tasks)(tasks.query.x).mean - tasks.query.y).square().mean((1, 2)),
            "log_likelihood": scores["log_likelihood"],
            "oracle_log_likelihood": tasks.info["oracle_log_prob"].mean(1),
            "joint_log_likelihood": scores["joint_log_likelihood"],
            "oracle_joint_log_likelihood": exact,
        }
        for name, values in rows.items():
            found.setdefault(name, []).append(values.cpu())
    return {name: over_tasks(torch.cat(values)) for name, values in found.items()}


def by_the_chain_rule(learner: Any, unseen: Unseen, orders: int) -> Metric:
    """The divergence of the learner's joint density by the chain rule, a mean over random orders of the points."""
    exact = [
        (tasks.info["oracle_joint_log_prob"] / tasks.query.num_points, density)
        for tasks, density in chained(learner, unseen, orders)
    ]
    return over_tasks(torch.cat([(truth - density.to(truth)).cpu() for truth, density in exact]))


def with_more_points(learner: nn.Module, unseen: Unseen, support: int) -> dict[str, Metric]:
    """Errors and divergences with a given number of support points."""
    batch = 16 if support <= 10 * MOST_SUPPORT else 2
    found = divergences(learner, unseen._replace(sizes=lambda chance: (support, QUERY), batch=batch))
    return {f"{name}/support={support}": found[name] for name in ("mse", "oracle_mse", "kl", "diagonal/kl")}


def prior_log_likelihood(tasks: Tasks) -> Tensor:
    """The mean log density of the query points of each task under the prior at each point by itself, `[T]`."""
    variance = (tasks.info["scale"].square() + tasks.info["noise"].square()).view(-1, 1, 1)
    belief = torch.distributions.Normal(torch.zeros_like(variance), variance.sqrt())
    return belief.log_prob(tasks.query.y.to(variance)).mean((1, 2))
