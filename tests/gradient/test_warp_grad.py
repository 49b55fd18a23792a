"""WarpGrad: MAML where the warps are identities, and its own objective written out where they are not."""

import pytest
import torch

import quickstudy as qs


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def batch():
    return qs.tasks.Sinusoid().sample(3, support=5, query=6, generator=torch.Generator().manual_seed(1))


def warped():
    return qs.nets.WarpedMLP(1, [6, 6], 1, activation="tanh")


def bent():
    network = warped()
    with torch.no_grad():
        for p in network.warps.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return network


def test_with_identities_it_is_maml():
    network, tasks = warped(), batch()
    plain = qs.nets.MLP(1, [6, 6], 1, activation="tanh")
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if "warp" not in k})
    ours, theirs = qs.WarpGrad(network, lr=0.1, steps=3), qs.MAML(plain, lr=0.1, steps=3)
    torch.testing.assert_close(ours.meta_loss(tasks), theirs.meta_loss(tasks))
    found = torch.autograd.grad(ours.meta_loss(tasks), list(network.layers.parameters()))
    expected = torch.autograd.grad(theirs.meta_loss(tasks), list(plain.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(
        ours.adapt(tasks.support)(tasks.query.x).mean, theirs.adapt(tasks.support)(tasks.query.x).mean
    )


@pytest.mark.parametrize("engine", ["auto", "loop", "batched"])
def test_warps_look_one_step_ahead_and_the_start_is_mamls(engine):
    network, tasks, lr, steps = bent(), batch(), 0.1, 3
    learner = qs.WarpGrad(network, lr=lr, steps=steps, engine=engine)
    learner.meta_loss(tasks).backward()

    def output(theta, phi, x):
        for k in range(2):
            x = x @ theta[2 * k].T + theta[2 * k + 1]
            x = torch.tanh(x @ phi[2 * k].T + phi[2 * k + 1])
        return x @ theta[4].T + theta[5]

    def loss(theta, phi, points, i):
        return (output(theta, phi, points.x[i]) - points.y[i]).square().sum(-1).mean()

    def step(theta, phi, i):
        grads = torch.autograd.grad(loss(theta, phi, tasks.support, i), theta, create_graph=True)
        return [t - lr * g for t, g in zip(theta, grads, strict=True)]

    theta, phi = list(network.layers.parameters()), list(network.warps.parameters())
    ahead = start = 0
    for i in range(3):
        now = [t.detach().requires_grad_() for t in theta]
        for _ in range(steps):
            after = step(now, phi, i)
            ahead = ahead + loss(after, phi, tasks.query, i) / (3 * steps)
            now = [t.detach().requires_grad_() for t in after]
        now, fixed = theta, [p.detach() for p in phi]
        for _ in range(steps):
            now = step(now, fixed, i)
        start = start + loss(now, fixed, tasks.query, i) / 3
    for p, g in zip(phi, torch.autograd.grad(ahead, phi), strict=True):
        torch.testing.assert_close(p.grad, g)
    for p, g in zip(theta, torch.autograd.grad(start, theta), strict=True):
        torch.testing.assert_close(p.grad, g)
    assert learner.meta_loss(tasks).item() == pytest.approx(start.item())


def test_warps_stay_while_tasks_adapt():
    network, tasks = bent(), batch()
    task = qs.WarpGrad(network, lr=0.1).adapt(tasks.support).task(0)
    assert all(torch.equal(a, b) for a, b in zip(task.warps.parameters(), network.warps.parameters(), strict=True))
    assert not torch.equal(task.layers[0].weight, network.layers[0].weight)


def test_to_first_order():
    network, tasks = bent(), batch()
    exact, cheap = qs.WarpGrad(network, lr=0.1, steps=2), qs.WarpGrad(network, lr=0.1, steps=2, first_order=True)
    theta, phi = list(network.layers.parameters()), list(network.warps.parameters())
    found = [torch.autograd.grad(m.meta_loss(tasks), [*theta, *phi]) for m in (exact, cheap)]
    for a, b in list(zip(*found, strict=True))[len(theta) :]:
        torch.testing.assert_close(a, b)  # warps need the second derivative, and have it
    assert not torch.allclose(found[0][0], found[1][0])


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="no parameter is named 'bend"):
        qs.WarpGrad(warped(), warp="bend*")
    with pytest.raises(ValueError, match="nothing is left to adapt"):
        qs.WarpGrad(warped(), warp="*")
    with pytest.raises(TypeError, match="no adapt="):
        qs.WarpGrad(warped(), adapt="*")
    with pytest.raises(TypeError, match="no checkpoint="):
        qs.WarpGrad(warped(), checkpoint="every")


def test_what_is_neither_start_nor_warp_is_learned_as_by_maml():
    network, tasks = bent(), batch()
    noise, rate = qs.likelihoods.Gaussian(0.5, learn=True), torch.nn.Parameter(torch.tensor(0.05))
    ours = qs.WarpGrad(network, lr=rate, steps=2, likelihood=noise)
    layers = [k for k, _ in network.named_parameters() if "warp" not in k]
    theirs = qs.MAML(network, lr=rate, steps=2, likelihood=noise, adapt=layers)
    found, expected = (torch.autograd.grad(m.meta_loss(tasks), [noise.log_sd, rate]) for m in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
