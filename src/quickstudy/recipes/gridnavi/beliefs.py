"""A learned belief about GridNavi's goal beside the exact posterior, and pictures of both."""

import copy
from collections.abc import Mapping

import matplotlib.style as mplstyle
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

import quickstudy as qs
from quickstudy.evaluation.intervals import Metric
from quickstudy.recipes.gridnavi.measure import over_trials
from quickstudy.report import figures
from quickstudy.report.figures import Series
from quickstudy.report.palette import INK
from quickstudy.rl.envs.references import gridnavi
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.latent.autoencoder import BeliefAutoencoder
from quickstudy.rl.latent.belief import Belief
from quickstudy.rl.latent.decoders import Transitions

LABELS = {
    "varibad": "VariBAD's belief and decoder",
    "reread": "VariBAD's belief, by a decoder told every cell",
    "fixed": "a belief that never changes",
}


def posteriors(walks: qs.rl.GridNavi, played: list[Episodes]) -> Tensor:
    """The exact beliefs before every step of trials, `[T, E, L, G]`."""
    belief, goals, found = gridnavi.prior(walks), walks.goals, []
    for episodes in played:
        for place, reward in zip(episodes.next_observation.unbind(2), episodes.reward.unbind(2), strict=True):
            found.append(belief)
            belief = gridnavi.posterior(belief, goals, place, reward)
    return torch.stack(found, 2)


def decoded(
    autoencoder: BeliefAutoencoder, walks: qs.rl.GridNavi, played: list[Episodes], chance: torch.Generator
) -> Tensor:
    """The decoded probability of a reward in each cell that may be the goal, before every step, `[T, E, L, G]`."""
    belief = autoencoder.beliefs(played)
    found = autoencoder.decoded_rewards(belief, next_observation=walks.goals, generator=chance)
    return found.unflatten(0, played[0].mask.shape[:2])


def reread(
    autoencoder: BeliefAutoencoder, walks: qs.rl.GridNavi, played: list[Episodes], steps: int, chance: torch.Generator
) -> BeliefAutoencoder:
    """The same encoder with a decoder that was told the reward of every cell, visited or not, on these trials.

    The encoder stays as it is. The decoder takes `steps` steps of Adam, on 500 beliefs each, from the trained weights.
    """
    decoder = copy.deepcopy(autoencoder.rewards).train()
    optimizer, belief = torch.optim.Adam(decoder.parameters(), lr=3e-3), autoencoder.beliefs(played)
    goals = torch.arange(walks.num_tasks).repeat_interleave(walks.num_envs)  # of each trial, as every goal is a task
    cells = Transitions(walks.goals[:, :0], walks.goals[:, :0], walks.goals, walks.goals.new_zeros(len(walks.goals)))
    for _ in range(steps):
        rows, times = (torch.randint(size, (500,), generator=chance) for size in belief.mean.shape[:2])
        some = Belief(*(part[rows, times] for part in belief))
        latent = some.at(torch.randn(some.mean.shape, generator=chance)).unsqueeze(1)
        logits = decoder.output(latent.expand(-1, len(walks.goals), -1), cells)
        wanted = functional.one_hot(goals[rows], len(walks.goals)).to(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return BeliefAutoencoder(autoencoder.encoder, decoder)


def distances(exact: Tensor, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Total variation from the exact posterior, `[E, L]`, means over goals, from 0 to 1.

    Args:
        exact: the exact posterior, `[T, E, L, G]`.
        found: decoded probabilities by name, which are divided by their sum.

    Returns:
        The distances by name, and "fixed", that of the prior.
    """
    shares = {name: own / own.sum(-1, keepdim=True) for name, own in found.items()} | {"fixed": exact[:, :, :1]}
    return {name: (exact - own).abs().sum(-1).mean(0) / 2 for name, own in shares.items()}


def belief_metrics(found: Mapping[str, Tensor], horizon: int) -> dict[str, Metric]:
    """The distances before some steps of the first episode and before each later one, and their mean over all steps."""
    metrics: dict[str, Metric] = {}
    for name, own in found.items():
        steps = sorted({*range(0, horizon, max(horizon // 3, 1)), *range(0, own.shape[1], horizon)})
        metrics |= {f"{name}/total_variation/step={step}": over_trials(own[:, step]) for step in steps}
        metrics[f"{name}/total_variation"] = over_trials(own.mean(1))
    return metrics


def distances_figure(found: Mapping[str, Tensor]) -> Figure:
    """Total variation by step of a trial."""
    series = []
    for name, own in found.items():
        each = [over_trials(own[:, step]) for step in range(own.shape[1])]
        steps = list(range(own.shape[1]))
        series.append(Series(LABELS[name], steps, [m.mean for m in each], [m.ci95 or 0.0 for m in each]))
    return figures.lines(
        series, xlabel="steps of the trial seen", ylabel="total variation from the exact posterior", bounds=(0.0, 1.0)
    )


def beliefs_figure(walks: qs.rl.GridNavi, played: list[Episodes], exact: Tensor, found: Mapping[str, Tensor]) -> Figure:
    """Exact and decoded beliefs, by their labels, along the trial whose goal is found latest in the first episode."""
    paid = torch.cat([episodes.reward for episodes in played], 2) > 0
    first = torch.where(paid.any(2), paid.to(torch.uint8).argmax(2), -1).flatten()
    late = int(torch.where(first < walks.horizon, first, -1).argmax())
    task, walker = divmod(late, walks.num_envs)
    last = min(max(int(first[late]), 1) + 1, exact.shape[2] - 1)  # the belief after the step on the goal
    steps = sorted({round(share * (last - 1)) for share in (0, 1 / 4, 1 / 2, 3 / 4, 1)} | {last})
    places = torch.cat([episodes.observation for episodes in played], 2)[task, walker]
    with mplstyle.context(figures.STYLE):
        rows = {"exact": exact, **found}
        figure = Figure(figsize=(1.25 * len(steps) + 0.8, 1.45 * len(rows) + 0.3), layout="constrained")
        grid = figure.subplots(len(rows), len(steps), squeeze=False)
        for row, (label, belief) in enumerate(rows.items()):
            for axes, step in zip(grid[row], steps, strict=True):
                board = torch.zeros(walks.cells, walks.cells)
                x, y = walks.goals.long().unbind(1)
                board[y, x] = belief[task, walker, step].float()
                image = axes.imshow(board.numpy(), origin="lower", vmin=0, vmax=1, cmap="Blues")
                axes.plot(*places[step].tolist(), marker="o", color=INK, markersize=4)
                axes.plot(*walks.goals[task].tolist(), marker="*", color="#d55e00", markersize=7)
                axes.set(xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"{step} steps", fontsize=8)
            grid[row][0].set_ylabel(label)
        figure.colorbar(image, ax=grid.ravel().tolist(), label="probability of a reward", shrink=0.8)
    return figure
