"""A neural process of your choice on samples of Gaussian processes, by the protocol in `gp/protocol.py`.

It is trained on one kernel and measured on all three, so two of the results are out of distribution. Marginal and joint
log-likelihoods per point stand beside those of the exact posterior, which knows the kernel's parameters. The joint
likelihood of a model that predicts each point by itself is also measured by the chain rule (`autoregressive_...`), over
`--orders` random orders of the points of the first `--autoregressive-tasks` tasks. Support sets that are several times
(`--times`) as large as any in training show whether more points go on to help.
"""

from dataclasses import dataclass

from quickstudy.evaluation.evaluate import Metric
from quickstudy.experiments.options import Sampled
from quickstudy.experiments.processes import TITLES, HeadName, Model, build
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import has_chain_rule
from quickstudy.recipes.gp import protocol as gp_protocol
from quickstudy.report.palette import GREEN
from quickstudy.tasks.kernels import Kernel


@dataclass(frozen=True, kw_only=True)
class Options(Sampled):
    """Options of the recipe. The defaults are those of the protocol."""

    model: Model = "tnp"
    """Neural process to train."""
    head: HeadName = "gaussian"
    """Belief at a point: gaussian, mixture (of 20) or bar (300 from -3 to 3); about all points: low-rank or dense."""
    kernel: Kernel = "rbf"
    """Kernel of the training tasks."""
    steps: int = 100_000
    """Meta-training steps."""
    tasks: int = 16
    """Tasks in a meta-batch."""
    lr: float = 5e-4
    """Initial learning rate of Adam; it falls along a cosine."""
    sigma_floor: float = 1e-3
    """Smallest standard deviation that the model can predict; 0.1 in the published runs of most models."""
    test_tasks: int = 4800
    """Unseen tasks of each kernel to measure on."""
    orders: int = 8
    """Random orders of the points for the joint likelihood by the chain rule; 0 leaves it out."""
    autoregressive_tasks: int = 480
    """Number of the unseen tasks on which the chain rule is measured, as it takes one prediction for each point."""
    times: tuple[int, ...] = (1, 2, 5, 10, 50)
    """Support sets beyond training, as multiples of 46, the largest in training; measured on the kernel of training."""
    larger_tasks: int = 64
    """Unseen tasks for each of these support sets."""


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    learner = build(options.model, head=options.head, sigma_floor=options.sigma_floor)
    drawn = {"tnp-a": 16, "tnp-nd": 16, "flow-np": 16}.get(options.model, 0)
    return gp_protocol.run(
        learner,
        options,
        stage,
        title=TITLES[options.model],
        colour=GREEN,
        samples=drawn if learner.deterministic else 64,
        train_on=options.kernel,
        orders=options.orders if has_chain_rule(learner) else 0,
        times=options.times,
    )
