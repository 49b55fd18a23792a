"""A neural process of your choice completes images from a few of their pixels.

Training images, and the unseen ones, are different images of the same classes; images of the classes `--unseen` are
measured apart, since the process has never seen their like. All other pixels of an unseen image are to be predicted. A
log-likelihood is that of a pixel, all channels together, for intensities from -1/2 to 1/2.

By default intensities have uniform noise of one grey level, and no model exceeds the logarithm of the number of levels;
nor can a normal distribution exceed the density that its smallest standard deviation (`--sigma-floor`) allows. The
smaller of the two bounds is in the results (`ceiling`). The default floor is that of published runs on EMNIST; with a
small one, training first fits pixels that are black in all images, and learns slowly from the others. Beside the
process stand two models that know no pixel of the image: a normal distribution, and a histogram of all training pixels;
and one that has only a memory: Bayes' rule over all training images (`remembered`; see its file).

Nguyen and Grover 2022 train for 200 epochs on EMNIST and on CelebA at 32 x 32 pixels, with 200 pixels of an image.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.evaluation.intervals import Metric
from quickstudy.evaluation.scores import task_mean
from quickstudy.experiments.processes import HEADS, TITLES, build
from quickstudy.experiments.stage import Stage
from quickstudy.experiments.unseen import Unseen, measure, moments, place
from quickstudy.predictive.outcomes import LOG_2PI
from quickstudy.recipes.images.options import Options as Options
from quickstudy.recipes.images.options import read
from quickstudy.recipes.images.remembered import tuned
from quickstudy.report.completions import Completed, Completion, completions
from quickstudy.tasks import Images

LEAST = 3  # fewest pixels to be predicted in training
DRAWN = 4  # images in a figure
References = Mapping[str, Callable[[Examples], Tensor]]


def check_packages(options: Options) -> None:
    """Raise ModuleNotFoundError without the package that has the images, if it is needed."""
    read(options)


def run(options: Options, stage: Stage) -> dict[str, Metric]:
    """Train, measure and draw."""
    family = read(options)
    counts = [count for count in sorted(set(options.seen)) if 0 <= count < family.pixels]
    if not counts:
        raise ValueError(f"--seen {' '.join(map(str, options.seen))}: an image has {family.pixels} pixels")
    learner = process(options, family)
    trained = stage.train(
        learner, family, steps=options.steps, tasks=options.tasks, lr=options.lr, **sizes(options, family)
    )
    known, rival = references(family, options), tuned(family, counts).to(place(trained))
    kinds = {"held-out images": family}
    if family.unseen:
        kinds["unseen classes"] = family.unseen_classes()
    metrics: dict[str, Metric] = {}
    for kind, images in kinds.items():
        stage.say(f"measuring on {options.test_tasks} images: {kind}")
        for count in counts:
            unseen = Unseen(images, _all_pixels(count, family.pixels), options.test_tasks, options.test_seed)
            found = measure(trained, unseen, known)
            found |= {f"remembered/{name}": metric for name, metric in measure(rival, unseen).items()}
            metrics |= {f"{kind}/{name}/k={count}": metric for name, metric in found.items()}
        stage.draw(
            kind.replace(" ", "_"),
            partial(_figure, trained, images, counts, f"{_title(options)}, {kind}"),
            f"Images ({kind}) completed from a few random pixels. Deviation: white is certain, black is uncertain.",
        )
    return metrics


def process(options: Options, family: Images) -> nn.Module:
    """The process that is trained."""
    if options.model == "grid-conv-cnp":
        head = HEADS[options.head](options.sigma_floor)
        return qs.GridConvCNP(tuple(family.images.shape[1:3]), family.dy, channels=options.channels, head=head)
    return build(options.model, 2, family.dy, head=options.head, sigma_floor=options.sigma_floor, **grid(family))


def _title(options: Options) -> str:
    return "GridConvCNP" if options.model == "grid-conv-cnp" else TITLES[options.model]


def sizes(options: Options, family: Images) -> dict[str, Any]:
    """Ranges of the numbers of pixels in training."""
    most = min(options.most, family.pixels)
    if options.fewest < 0 or most < options.fewest + LEAST:
        raise ValueError(
            f"--fewest {options.fewest} --most {options.most}: expected --fewest of 0 or more, --most of at least "
            f"{LEAST} more than it, and images of {family.pixels} pixels to have as many"
        )
    return {"support": (options.fewest, most - LEAST), "query": (LEAST, most - options.fewest), "points": most}


def grid(family: Images) -> dict[str, Any]:
    """The grid of convolutional processes: one cell for each pixel, and four if there are few."""
    side = max(family.images.shape[1:3])
    cells = side - 1 if side > 16 else 2 * (side - 1)
    return {"domain": (-1.0, 1.0), "points_per_unit": max(cells, 1) / 2, "levels": 3}


def references(family: Images, options: Options) -> References:
    """Models that know nothing of an image, and the upper bound of all models."""
    pixels = family.images[family.splits["train"]].flatten(0, 2).long()
    levels = torch.arange(family.levels)
    share = torch.stack([(pixels == level).double().mean(0) for level in levels])  # [levels, channels]
    density = (share * family.levels).clamp_min(1e-12).log().to(torch.get_default_dtype())
    floor = -family.dy * (math.log(options.sigma_floor) + LOG_2PI / 2)
    ceiling = min(family.ceiling, math.inf if options.head == "bar" else floor)  # bars have no standard deviation

    def histogram(query: Examples) -> Tensor:
        level = ((query.y + 0.5) * family.levels).long().clamp(0, family.levels - 1)
        points = density.to(query.y).gather(0, level.flatten(0, 1)).view(level.shape)
        return task_mean(points.sum(2), query.mask)

    def bound(query: Examples) -> Tensor:
        return query.y.new_full((query.num_tasks,), ceiling)

    found = {"normal/log_likelihood": moments(family, points=min(50, family.pixels)).log_likelihood}
    found |= {"histogram/log_likelihood": histogram} if family.dequantise else {}
    return found | ({"ceiling/log_likelihood": bound} if ceiling < math.inf else {})


def _all_pixels(count: int, pixels: int) -> Callable[[torch.Generator], tuple[int, int]]:
    return lambda _: (count, pixels - count)


def _figure(learner: Any, family: Images, counts: list[int], title: str) -> Any:
    """Some images, completed from each number of pixels; more pixels include the fewer."""
    device, shape = place(learner), family.images.shape[1:]
    rows: list[list[Completion]] = [[] for _ in range(DRAWN)]
    for count in counts:
        generator = torch.Generator(device).manual_seed(2)
        tasks = family.sample(DRAWN, support=count, query=1, split="test", generator=generator)
        x = family.coordinates().to(device)
        belief = learner.adapt(tasks.support, generator=generator)(x.expand(DRAWN, -1, -1))
        seen = (x[None, :, None] == tasks.support.x[:, None]).all(3).any(2)  # [T, pixels]
        for t in range(DRAWN):
            mean, sd = (value[t].view(shape) for value in (belief.mean + 0.5, belief.variance.sqrt()))
            rows[t].append(Completion(f"{count} pixels", seen[t].view(shape[:2]), mean, sd))
    images = (family.intensities(tasks.info["image"]) + 0.5).view(DRAWN, *shape)
    return completions([Completed(image, row) for image, row in zip(images, rows, strict=True)], title=title)
