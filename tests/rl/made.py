"""Episodes made up for tests: rows with several episodes of random lengths, ended either way, and unused tails."""

import torch

from quickstudy.rl.episodes import Episodes


def episodes(tasks: int = 3, envs: int = 4, steps: int = 12, seed: int = 0) -> Episodes:
    generator = torch.Generator().manual_seed(seed)
    shape = (tasks, envs, steps)
    random = lambda *s: torch.randn(*s, generator=generator)  # noqa: E731
    done = torch.rand(shape, generator=generator) < 0.25
    terminated = done & (torch.rand(shape, generator=generator) < 0.5)
    last = torch.randint(steps // 2, steps, (tasks, envs, 1), generator=generator)
    mask = torch.arange(steps).expand(shape) <= last
    done = (done | (torch.arange(steps).expand(shape) == last)) & mask
    terminated = terminated & mask
    time = torch.zeros(shape, dtype=torch.long)
    for h in range(1, steps):
        time[..., h] = torch.where(done[..., h - 1], 0, time[..., h - 1] + 1)
    found = Episodes(
        random(*shape, 2),
        random(*shape, 2),
        random(*shape),
        random(*shape, 2),
        -random(*shape).abs(),
        terminated,
        done & ~terminated,
        mask,
        time,
    )
    return Episodes(*(torch.where(mask.reshape(*shape, *[1] * (f.dim() - 3)), f, f.new_zeros(())) for f in found[:9]))


def split(found: Episodes) -> list[tuple[int, int, int, int]]:
    """`(task, row, first step, one past the last)` of every episode."""
    places = []
    for t in range(found.mask.shape[0]):
        for e in range(found.mask.shape[1]):
            first = 0
            for end in found.done[t, e].nonzero().flatten().tolist():
                places.append((t, e, first, end + 1))
                first = end + 1
    return places
