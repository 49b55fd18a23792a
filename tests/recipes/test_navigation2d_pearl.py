"""The recipe of PEARL: its bound in closed form, and what is counted of each learner."""

import torch

from quickstudy.recipes.navigation2d import pearl


def test_the_bound_is_what_going_straight_brings() -> None:
    """Each coordinate comes nearer by 0.1 a step, whichever the other is, so nothing is faster."""
    options = pearl.Options()
    goals = {"goal": torch.tensor([[0.0, 0.0], [0.9, -0.4]])}
    world = pearl.board(20)
    world.set_tasks(goals)
    found = pearl.oracle(goals, options)
    seed = torch.Generator().manual_seed(pearl.mix(options.test_seed, 1, pearl.Stream.EVALUATION))
    start, _ = world.reset(generator=seed)
    away = (start - goals["goal"][:, None]).abs().unsqueeze(2)
    steps = torch.arange(1, 21)[:, None]
    distance = (away - 0.1 * steps).clamp_min(0).norm(dim=-1)
    torch.testing.assert_close(found, -distance.sum(2).mean(1), rtol=1e-4, atol=1e-4)


def test_every_learner_has_a_name_and_returns_by_episode() -> None:
    options = pearl.Options(test_tasks=3, width=4, train_tasks=3)
    found = pearl.measure(pearl.build(options), options)
    assert set(found) <= set(pearl.LABELS)
    assert {name for name in found if name.startswith("maml")} == {"maml", "maml_more", "maml_many", "maml_many_more"}
    for name, returns in found.items():
        assert returns.shape == (4, 3)
        assert bool((returns <= 0).all()), name
    assert float(found["oracle"].mean()) > max(float(r.mean()) for n, r in found.items() if n != "oracle")
