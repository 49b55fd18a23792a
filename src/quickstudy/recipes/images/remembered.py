"""Bayes' rule over remembered images: the plain rival of a process that completes images."""

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.data import Examples
from quickstudy.predictive import PointMixture
from quickstudy.tasks import Images

MEMBERS = 100  # images that stand for the posterior
MATCHES = (0.2, 0.3, 0.5, 0.8, 1.2)  # standard deviations among which `tuned` chooses
NOISES = (0.02, 0.03, 0.05, 0.08, 0.12)
VALIDATION = 64  # images of the validation split on which it chooses


@final
class Remembered(nn.Module):
    """A learner without training: one of the images that it remembers, with noise, is the one that it sees.

    p(image j | support) ~ prod_i N(y_i; image_j(x_i), match^2),  p(y | x, support) = sum_j p(j | support) N(y;
    image_j(x), noise^2).

    As `match` falls, this becomes the nearest neighbour. 100 images stand for the posterior, each about as often as its
    probability says.

    Args:
        images: intensities `[J, height, width, channels]`, on the places of `quickstudy.tasks.Images`.
        match: how far a pixel seen may lie from that of a similar image: a standard deviation.
        noise: the standard deviation of a pixel that is not seen, around that of the similar image.
    """

    def __init__(self, images: Tensor, match: float = 0.2, noise: float = 0.05):
        super().__init__()
        self.cells, self.match, self.noise = images.shape[1:3], match, noise
        self.images = nn.Parameter(images.flatten(1, 2), requires_grad=False)  # [J, pixels, channels]

    def meta_loss(self, tasks: Any) -> Tensor:
        """Scalar: minus the mean log density of the query points."""
        return -self.adapt(tasks.support)(tasks.query.x).log_prob(tasks.query.y, tasks.query.mask).mean()

    def adapt(
        self,
        support: Examples,
        *,
        steps: int | None = None,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> "RememberedPredictor":
        """The predictor that has compared all images with the support points."""
        del steps, create_graph, generator
        index, real = self.places(support.x), support.real().unsqueeze(2)
        y = torch.where(real, support.y, 0.0)
        pixels, channels = self.images.shape[1:]
        place = index.unsqueeze(2).expand(-1, -1, channels)
        sums = y.new_zeros(len(y), pixels, channels).scatter_add(1, place, y)
        counts = torch.zeros_like(sums).scatter_add(1, place, real.to(y).expand_as(y))
        known = self.images.flatten(1)
        # sum_i (y_i - image_i)^2 without the part that all images share
        misfit = counts.flatten(1) @ known.square().T - 2 * sums.flatten(1) @ known.T
        return RememberedPredictor(self, systematic((-0.5 * misfit / self.match**2).softmax(1)))

    def places(self, x: Tensor) -> Tensor:
        """The index `[T, M]` of the pixel at each of `x [T, M, 2]`."""
        last = x.new_tensor([side - 1 for side in self.cells])
        near = ((x + 1) / 2 * last).nan_to_num().round().clamp_min(0).minimum(last).long()
        return near[..., 0] * self.cells[1] + near[..., 1]


@final
class RememberedPredictor:
    """What the most probable images have at a place.

    Args:
        learner: the images.
        members: the indices `[T, MEMBERS]` of those that stand for the posterior.
    """

    def __init__(self, learner: Remembered, members: Tensor):
        self.learner, self.members = learner, members

    def __call__(self, x: Tensor) -> PointMixture:
        """The belief at `x [T, M, 2]`."""
        index = self.learner.places(x)
        means = self.learner.images[self.members.unsqueeze(1), index.unsqueeze(2)]  # [T, M, members, channels]
        return PointMixture(means.new_zeros(means.shape[:3]), means, torch.full_like(means, self.learner.noise**2))

    def functions(self, n: int, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        """`n` images that are drawn from the posterior, as one function `x [T, M, 2] -> [n, T, M, channels]`."""
        chosen = torch.randint(self.members.shape[1], (n,), generator=generator, device=self.members.device)
        own = self.members[:, chosen].T.unsqueeze(2)  # [n, T, 1]
        return lambda x: self.learner.images[own, self.learner.places(x)]


def systematic(weights: Tensor) -> Tensor:
    """`MEMBERS` indices `[T, MEMBERS]`, each about as often as its weight in `weights [T, J]` says, without chance."""
    levels = (torch.arange(MEMBERS, dtype=torch.float64, device=weights.device) + 0.5) / MEMBERS
    upto = weights.double().cumsum(1).clamp_max(1.0)
    return torch.searchsorted(upto, levels.repeat(len(weights), 1)).clamp_max(weights.shape[1] - 1)


def tuned(family: Images, counts: Sequence[int]) -> Remembered:
    """The training images of the family, with the `match` and the `noise` that suit validation images best.

    Args:
        family: the images.
        counts: numbers of pixels seen; the mean log-likelihood over them decides.
    """
    train = family.intensities(family.splits["train"]).view(-1, *family.images.shape[1:])
    generator = torch.Generator().manual_seed(0)
    tasks = [
        family.sample(VALIDATION, support=k, query=family.pixels - k, split="validation", generator=generator)
        for k in counts
    ]
    best, least = Remembered(train), math.inf
    for match in MATCHES:
        for noise in NOISES:
            learner = Remembered(train, match, noise)
            loss = sum(float(learner.meta_loss(own)) for own in tasks) / len(tasks)
            if loss < least:
                best, least = learner, loss
    return best
