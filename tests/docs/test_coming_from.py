"""The page for people who come from other libraries: their lines and ours, side by side, where theirs still run."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs/coming-from.md"


def run(*headings: str) -> dict[str, Any]:
    """Run the page's Python blocks: those before the first heading, and those under `headings`."""
    first, *sections = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    under = dict(zip(sections[::2], sections[1::2], strict=True))
    names: dict[str, Any] = {}
    for text in (first, *(under[h] for h in headings)):
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            exec(compile(code, PAGE.name, "exec"), names)
    return names


@pytest.mark.parametrize(("heading", "package"), [("higher", "higher"), ("TorchOpt", "torchopt")])
def test_theirs_is_ours(heading: str, package: str):
    pytest.importorskip(package)
    names = run(heading)
    assert all(g.norm() > 0 for g in names["ours"])
    torch.testing.assert_close(names["ours"], names["theirs"], rtol=1e-5, atol=1e-5)


def test_the_learner_is_the_loop():
    names = run("learn2learn")
    torch.testing.assert_close(names["ours"], names["maml"], rtol=1e-5, atol=1e-6)


def test_a_copy_of_the_weights_leaves_the_network_without_a_gradient():
    """What the page says of higher's default."""
    higher = pytest.importorskip("higher")
    names = run()
    network, x, y = names["network"], names["tasks"].support.x[0], names["tasks"].support.y[0]
    network.zero_grad()
    with higher.innerloop_ctx(network, torch.optim.SGD(network.parameters(), lr=0.01)) as (adapted, inner):
        inner.step(names["mse"](adapted(x), y))
        names["mse"](adapted(x), y).backward()
    assert all(p.grad is None for p in network.parameters())


def test_adam_is_torchopts_and_finite_where_a_gradient_is_zero():
    """What the page says of Adam: the same numbers, and no NaN behind a unit that is off."""
    torchopt = pytest.importorskip("torchopt")
    import quickstudy as qs

    for act, finite in ((torch.nn.Tanh(), True), (torch.nn.ReLU(), False)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(1, 40), act, torch.nn.Linear(40, 1))
        one = qs.tasks.Sinusoid().sample(1, support=10, query=10)
        qs.inner_loop(network, rule=qs.optimizers.Adam(0.01), steps=3)(one.support).losses(one.query).mean().backward()
        ours = [p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        inner = torchopt.MetaAdam(network, lr=0.01)
        weights = list(network.parameters())
        for _ in range(3):
            inner.step((network(one.support.x[0]) - one.support.y[0]).square().mean())
        theirs = torch.autograd.grad((network(one.query.x[0]) - one.query.y[0]).square().mean(), weights)
        assert all(g.isfinite().all() for g in ours)
        assert all(g.isfinite().all() for g in theirs) == finite
        if finite:
            torch.testing.assert_close(ours, list(theirs), rtol=1e-4, atol=1e-5)
