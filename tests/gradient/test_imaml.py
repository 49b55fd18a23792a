"""iMAML against the derivative of a solution in closed form, and where it goes as its penalty grows."""

import pytest
import torch
from inner.grid import batch, loss_and_gradient
from torch import nn

import quickstudy as qs


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def solution(theta, x, y, lam):
    """argmin_w mean_n (x_n w - y_n)^2 + lam/2 |w - theta|^2, by its normal equations."""
    curvature = 2 / len(x) * x.T @ x
    return torch.linalg.solve(curvature + lam * torch.eye(len(theta)), 2 / len(x) * x.T @ y + lam * theta)


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_is_the_derivative_of_the_exact_solution(lam):
    """Eq. 4 and 6 with the loss a mean over points, on a quadratic, where conjugate gradient ends in 6 iterations."""
    network, tasks = nn.Linear(6, 1, bias=False), batch()
    theta = network.weight.detach().T.clone().requires_grad_()
    losses = [
        (x @ solution(theta, sx, sy, lam) - y).square().mean()
        for sx, sy, x, y in zip(*tasks.support[:2], *tasks.query[:2], strict=True)
    ]
    expected = torch.stack(losses).mean()
    learner = qs.iMAML(network, lam=lam, steps=400, cg_steps=6, lr=0.1)
    loss, [found] = loss_and_gradient(learner, tasks)
    assert loss == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(found.T, torch.autograd.grad(expected, theta)[0], rtol=1e-8, atol=1e-10)


def test_with_a_growing_penalty_it_becomes_one_step_of_maml_and_then_joint_training():
    """Away from MAML by 1 / lam^2, from first-order MAML and from the query gradient at the start by 1 / lam."""
    network, tasks = qs.nets.MLP(6, [5], 1, activation="tanh"), batch()

    def gradient(learner):
        return torch.cat([g.flatten() for g in loss_and_gradient(learner, tasks)[1]])

    gaps = []
    for lam in (1e3, 1e4):
        own = gradient(qs.iMAML(network, lam=lam, steps=12, cg_steps=10, lr=1 / lam))
        others = (qs.MAML(network, lr=1 / lam), qs.FOMAML(network, lr=1 / lam), qs.Pretrained(network))
        gaps.append([(own - gradient(other)).norm().item() for other in others])
    maml, first_order, joint = (near / far for far, near in zip(*gaps, strict=True))
    assert maml == pytest.approx(1e-2, rel=0.1)
    assert first_order == pytest.approx(1e-1, rel=0.1)
    assert joint == pytest.approx(1e-1, rel=0.1)
    assert gaps[1][2] < 1e-2 * gradient(qs.Pretrained(network)).norm()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"implicit": qs.Implicit()}, TypeError, "cg_steps="),
        ({"proximal": 1.0}, TypeError, "lam="),
        ({"lam": 0.0}, ValueError, "lam=0.0; expected a positive number"),
        ({"lam": -1.0}, ValueError, "lam=-1.0"),
        ({"cg_steps": 0}, ValueError, "cg_steps=0"),
        ({"mixed_mode": True}, ValueError, "leave out mixed_mode"),
    ],
)
def test_bad_options(options, error, says):
    with pytest.raises(error, match=says):
        qs.iMAML(nn.Linear(6, 1), **options)
