"""Networks whose BatchNorm layers were replaced."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.nets import Conv4, MetaBatchNorm, TaskNorm, replace_batch_norm
from quickstudy.runs.rebuild.spec import from_spec, to_spec

KINDS = ("task", "meta", "group", "transductive")
kinds = pytest.mark.parametrize("kind", KINDS)


class Residual(nn.Module):
    """A block within a block; one norm occurs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.norm = self.again = nn.BatchNorm2d(32, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With a skip."""
        return x + self.again(self.second(self.norm(self.first(x)).relu()))


def network() -> nn.Sequential:
    """With weights and statistics that are not those of the start."""
    made = nn.Sequential(nn.Conv2d(1, 32, 3), Residual(), nn.Flatten(), nn.Linear(32 * 9, 8), nn.BatchNorm1d(8))
    for part in made.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.weight), nn.init.normal_(part.bias)
    made(torch.randn(6, 1, 5, 5))
    return made


@kinds
def test_every_batch_norm_is_replaced_and_its_weights_are_kept(kind: Any) -> None:
    given = network()
    expected = {"task": TaskNorm, "meta": MetaBatchNorm, "group": nn.GroupNorm}.get(kind)
    made = replace_batch_norm(given, kind)
    norms = [made[1].norm, made[4]]
    if expected is None:
        assert [type(n) for n in norms] == [nn.BatchNorm2d, nn.BatchNorm1d]
        assert not list(made.buffers()) and not any(n.track_running_stats for n in norms)
    else:
        assert all(type(n) is expected for n in norms)
        assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in made.modules())
    assert [n.eps for n in norms] == [1e-3, 1e-5]
    assert {k: v for k, v in made.named_parameters() if "scale" not in k and "offset" not in k}.keys() == dict(
        given.named_parameters()
    ).keys()
    for name, value in given.named_parameters():
        assert torch.equal(made.get_parameter(name), value) and made.get_parameter(name) is not value


@kinds
def test_the_given_network_is_left_alone_and_shares_nothing(kind: Any) -> None:
    given = network()
    before, modules = copy.deepcopy(given.state_dict()), list(given.modules())
    made = replace_batch_norm(given, kind)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(1)
    made.train()(torch.randn(6, 1, 5, 5))
    assert list(given.modules()) == modules and not set(modules) & set(made.modules())
    assert all(torch.equal(v, before[k]) for k, v in given.state_dict().items())


@kinds
def test_shared_layers_stay_shared(kind: Any) -> None:
    block = replace_batch_norm(network(), kind)[1]
    assert block.norm is block.again


@kinds
def test_modes_frozen_weights_and_dtype_are_kept(kind: Any) -> None:
    given = network().double()
    given[4].eval().requires_grad_(False)
    made = replace_batch_norm(given, kind)
    assert made[1].norm.training and not made[4].training
    assert not made[4].weight.requires_grad and made[1].norm.weight.requires_grad
    assert {p.dtype for p in made.parameters()} == {torch.float64}
    made(torch.randn(6, 1, 5, 5, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["meta", "transductive"])
def test_on_a_batch_it_is_what_batch_norm_was_in_training(kind: Any) -> None:
    torch.set_default_dtype(torch.float64)
    given, x = network(), torch.randn(6, 1, 5, 5)
    torch.testing.assert_close(replace_batch_norm(given, kind).eval()(x), given.train()(x))


@kinds
def test_without_weights_and_statistics(kind: Any) -> None:
    given = nn.Sequential(nn.BatchNorm3d(32, affine=False), nn.BatchNorm1d(32, affine=False, track_running_stats=False))
    made = replace_batch_norm(given.double(), kind)
    assert {name.split(".")[-1] for name, _ in made.named_parameters()} <= {"scale", "offset"}
    made[0](torch.randn(4, 32, 2, 2, 2, dtype=torch.float64))


@kinds
def test_the_network_itself_may_be_the_layer(kind: Any) -> None:
    made = replace_batch_norm(nn.BatchNorm2d(32), kind)
    assert made(torch.randn(3, 32, 2, 2)).shape == (3, 32, 2, 2)


def test_vectors_are_pooled_over_channels_and_images_over_places() -> None:
    given = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4))
    assert [norm.kind for norm in replace_batch_norm(given, "task")] == ["layer", "instance", "instance"]


@pytest.mark.parametrize(
    ("channels", "groups"), [(3, 1), (16, 1), (32, 2), (64, 4), (48, 3), (34, 2), (512, 32), (2048, 32), (37, 1)]
)
def test_groups_have_sixteen_channels_or_more(channels: int, groups: int) -> None:
    assert replace_batch_norm(nn.BatchNorm2d(channels), "group").num_groups == groups
    assert replace_batch_norm(nn.BatchNorm2d(channels), "group", groups=channels).num_groups == channels


def test_what_is_refused() -> None:
    given = nn.BatchNorm2d(32)
    with pytest.raises(ValueError, match="kind='instance'; choose one of 'task', 'meta', 'group', 'transductive'"):
        replace_batch_norm(given, "instance")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="groups=5 does not divide a layer's 32 channels"):
        replace_batch_norm(given, "group", groups=5)
    with pytest.raises(ValueError, match="groups=0"):
        replace_batch_norm(given, "group", groups=0)
    with pytest.raises(ValueError, match="groups=4 belongs to kind='group', not to 'task'"):
        replace_batch_norm(given, "task", groups=4)
    with pytest.raises(ValueError, match="MLP has no BatchNorm layer to replace"):
        replace_batch_norm(qs.nets.MLP(1, [8], 1), "task")


@pytest.mark.parametrize("norm", ["batch", *KINDS])
@pytest.mark.parametrize(("side", "features"), [(8, 32 * 4), (28, 32 * 9), (84, 32 * 25), (1, 32)])
def test_conv4(norm: Any, side: int, features: int) -> None:
    net = Conv4(3, 5, side=side, norm=norm)
    assert net(torch.randn(6, 3, side, side)).shape == (6, 5) and net.head.in_features == features
    again = from_spec(to_spec(net))
    again.load_state_dict(net.state_dict())
    assert to_spec(again) == to_spec(net)
    assert bool(list(net.buffers())) is (norm == "batch")
