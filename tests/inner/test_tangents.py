"""Reverse over forward: exact for every operation that is listed as safe, and not used for any other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import quickstudy as qs
from quickstudy.inner.fast.graphs import SMOOTH_TANGENTS

W = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
AT = torch.tensor([0, 2, 2, 5, 1, 3])

OPERATIONS = {  # of h [6, 6], by the names of the nodes that they make
    "Add": lambda h: h + h.flip(0).detach(),
    "Addmm": lambda h: torch.addmm(h, W, h),
    "Addbmm": lambda h: torch.addbmm(h, h.view(2, 3, 6).mT, h.view(2, 3, 6)),
    "AsStrided": lambda h: h.as_strided((6, 6), (6, 1)),
    "Baddbmm": lambda h: torch.baddbmm(h.view(2, 3, 6), h.view(2, 3, 6) @ W, W.expand(2, 6, 6)).view(6, 6),
    "Bmm": lambda h: torch.bmm(h.view(2, 3, 6), h.view(2, 3, 6).mT @ h.view(2, 3, 6)).view(6, 6),
    "Cat": lambda h: torch.cat([h[:3] * h[3:], h[3:]]),
    "Clone": lambda h: h.clone() * h,
    "ConstantPadNd": lambda h: F.pad(h, (1, 0))[:, :6] * h,
    "Convolution": lambda h: F.conv1d(h[None], W[:, :, None] * h[:, :, None])[0],
    "Cos": torch.cos,
    "Div": lambda h: h / (2 + h * h),
    "Elu": F.elu,
    "Exp": lambda h: torch.exp(-h),
    "Expand": lambda h: h[:1].expand(6, 6) * h,
    "Gather": lambda h: h.gather(0, AT.expand(6, 6)) * h,
    "Gelu": F.gelu,
    "Index": lambda h: h[AT] * h,
    "IndexSelect": lambda h: h.index_select(0, AT) * h,
    "LeakyRelu": lambda h: F.leaky_relu(h) * h,
    "Log": lambda h: torch.log(2 + h * h),
    "MaxPool2DWithIndices": lambda h: F.max_pool2d((h * h)[None], 2)[0].repeat(2, 2),
    "Mean": lambda h: h * h.mean(0) + h.mean() ** 2,
    "Mm": lambda h: h @ (h * h),
    "Mul": lambda h: h * h * h,
    "Neg": lambda h: -h * h,
    "NllLoss": lambda h: h * F.nll_loss(h * h, AT),
    "Permute": lambda h: h.permute(1, 0) @ h,
    "Pow": lambda h: (2 + h * h) ** 1.5,
    "Relu": lambda h: F.relu(h) * h,
    "Repeat": lambda h: (h[:3] * h[3:]).repeat(2, 1),
    "Select": lambda h: h * h[0] * h.select(1, 2)[:, None],
    "Sigmoid": torch.sigmoid,
    "Silu": F.silu,
    "Sin": torch.sin,
    "Slice": lambda h: h[:, 1:].sum() * h,
    "Softplus": F.softplus,
    "Split": lambda h: h.split(3)[0].repeat(2, 1) * h,
    "Sqrt": lambda h: torch.sqrt(2 + h * h),
    "Squeeze": lambda h: (h[:, None] * h[:, None]).squeeze(1),
    "Stack": lambda h: torch.stack([h * h, h]).sum(0),
    "Sub": lambda h: h * h - h,
    "Sum": lambda h: h * h.sum(1, keepdim=True) * h.sum(),
    "T": lambda h: h.t() @ h,
    "Tanh": torch.tanh,
    "ToCopy": lambda h: h * h.to(torch.float64, copy=True),
    "Transpose": lambda h: h.transpose(0, 1) @ h,
    "Unbind": lambda h: h * h.unbind(0)[2],
    "UnsafeSplit": lambda h: h.unsafe_split(3)[0].repeat(2, 1) * h,
    "Unsqueeze": lambda h: (h.unsqueeze(0) * h.unsqueeze(1)).mean(0),
    "View": lambda h: (h.view(2, 18) * h.view(2, 18)).view(6, 6),
    "Where": lambda h: torch.where(h > 0, h * h, h),
    "NativeLayerNorm": lambda h: F.layer_norm(h, (6,)),
    "NativeGroupNorm": lambda h: F.group_norm(h, 2),
    "Softmax": lambda h: torch.softmax(h, 1),
    "LogSoftmax": lambda h: torch.log_softmax(h, 1),
    "Atan": torch.atan,
}
# made by every network, by other operations of the table, or by torch alone
MET_ELSEWHERE = {"torch::autograd::AccumulateGrad", "Alias", "ReshapeAlias", "UnsafeView"}


class Network(nn.Module):
    def __init__(self, operation):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.operation = nn.Linear(6, 6), nn.Linear(6, 1), operation

    def forward(self, x):
        return self.last(self.operation(torch.sin(self.first(x)) * self.first(x)))


def test_every_operation_listed_is_tried():
    assert set(OPERATIONS) | MET_ELSEWHERE >= SMOOTH_TANGENTS


@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_mixed_mode_is_exact_through(name, engine):
    torch.set_default_dtype(torch.float64)
    x = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    tasks = qs.Tasks(qs.Examples(x, x[..., :1].sin()), qs.Examples(x.cos(), x[..., 1:2]))
    network = Network(OPERATIONS[name])
    found = {}
    for mixed in (False, True):
        learner = qs.MAML(network, lr=0.1, steps=2, engine=engine, mixed_mode=mixed)
        found[mixed] = torch.cat(
            [g.flatten() for g in torch.autograd.grad(learner.meta_loss(tasks), list(network.parameters()))]
        )
    torch.testing.assert_close(found[True], found[False], rtol=1e-10, atol=1e-12)
    plan = learner.inner.plan(tasks.support.select(slice(0, 1)), 1, 2)
    assert plan.tangents == (name in SMOOTH_TANGENTS)
