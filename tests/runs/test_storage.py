"""`save` and `load`."""

from pathlib import Path

import pytest
import torch
from training.workload import make, train

import quickstudy as qs
from quickstudy.runs.checkpoint import CheckpointError
from quickstudy.runs.rebuild.spec import from_spec, to_spec


@pytest.mark.parametrize("kind", ["gradient", "process"])
def test_a_saved_learner_comes_back(tmp_path: Path, kind: str) -> None:
    learner = make(kind).double()
    assert qs.save(learner, tmp_path / "learner") == tmp_path / "learner"
    back = qs.load(tmp_path / "learner")
    assert type(back) is type(learner)
    assert not back.training
    for name, value in learner.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
        assert back.state_dict()[name].dtype == torch.float64


def test_saving_leaves_the_user_s_files_beside_it_alone(tmp_path: Path) -> None:
    """Nor does `load` take one of them for the save."""
    learner = qs.CNP(width=4)
    for suffix in ("tmp", "new", "old"):
        (tmp_path / f"model.{suffix}").mkdir()
        (tmp_path / f"model.{suffix}" / "notes.txt").write_text("mine")
    for _ in range(2):
        qs.save(learner, tmp_path / "model")
    assert qs.load(tmp_path / "model").config() == learner.config()
    for suffix in ("tmp", "new", "old"):
        assert (tmp_path / f"model.{suffix}" / "notes.txt").read_text() == "mine"


def test_a_save_replaces_a_save_and_nothing_else(tmp_path: Path) -> None:
    one, two = make("gradient"), qs.MAML(qs.nets.MLP(1, [3], 1))
    qs.save(one, tmp_path / "learner")
    qs.save(two, tmp_path / "learner")
    assert qs.load(tmp_path / "learner").network.layers[0].out_features == 3
    run = train("gradient", tmp_path / "run", steps=2)
    for path in (run.path, run.path / "checkpoints" / "last", tmp_path):
        with pytest.raises(FileExistsError, match=r"not made by quickstudy\.save"):
            qs.save(one, path)


def test_runs_and_checkpoints_are_loaded(tmp_path: Path) -> None:
    run = train("gradient", tmp_path / "run", steps=10, evaluate_every=1)
    last = qs.load(run.path, which="last")
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), run.learner.parameters(), strict=True))
    again = qs.load(run.path / "checkpoints" / "last")
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), again.parameters(), strict=True))
    best = run.load_best()
    assert all(torch.equal(a, b) for a, b in zip(qs.load(run.path).parameters(), best.parameters(), strict=True))


def test_a_network_of_ones_own_is_asked_for(tmp_path: Path) -> None:
    def network() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))

    learner = qs.MAML(network(), lr=0.3, steps=2)
    qs.save(learner, tmp_path / "learner")
    with pytest.raises(ValueError, match="network="):
        qs.load(tmp_path / "learner")
    back = qs.load(tmp_path / "learner", network=network())
    assert (back.steps, back.rule.lr) == (2, 0.3)
    assert torch.equal(back.network[0].weight, learner.network[0].weight)
    with pytest.raises(CheckpointError, match="of another learner"):
        qs.load(tmp_path / "learner", network=torch.nn.Sequential(torch.nn.Linear(1, 1)))


@pytest.mark.parametrize("content", ["nothing", "empty folder", "file"])
def test_what_is_no_learner_is_one_line(tmp_path: Path, content: str) -> None:
    if content == "empty folder":
        (tmp_path / "x").mkdir()
    elif content == "file":
        (tmp_path / "x").write_text("x")
    with pytest.raises(CheckpointError, match="x") as caught:
        qs.load(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_which_is_best_or_last(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'best' or 'last'"):
        qs.load(tmp_path, which="latest")  # type: ignore[arg-type]


def squares(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A loss of the user's own."""
    return (output - y).square().sum(-1)


def test_a_whole_learner_replaces_custom_parts(tmp_path: Path) -> None:
    def build(width: int = 4) -> torch.nn.Module:
        return qs.MAML(qs.nets.MLP(1, [width], 1), lr=0.3, loss=squares)

    learner = build()
    qs.save(learner, tmp_path / "learner")
    with pytest.raises(ValueError, match=r"this MAML was trained with a custom loss, which is not saved.*learner="):
        qs.load(tmp_path / "learner")
    for name in ("learner", "network"):
        given = build().train()
        assert qs.load(tmp_path / "learner", **{name: given}) is given and not given.training
        assert all(torch.equal(a, b) for a, b in zip(given.parameters(), learner.parameters(), strict=True))
        with pytest.raises(CheckpointError, match="of another learner"):
            qs.load(tmp_path / "learner", **{name: build(5)})
    with pytest.raises(ValueError, match=r"with a custom loss, .*learner="):  # the network is not enough
        qs.load(tmp_path / "learner", network=qs.nets.MLP(1, [4], 1))


def test_a_learner_of_a_custom_class_is_loaded_into_a_new_one(tmp_path: Path) -> None:
    class Mine(qs.MAML):
        """Of the user's own."""

    learner = Mine(qs.nets.MLP(1, [4], 1))
    qs.save(learner, tmp_path / "learner")
    with pytest.raises(ValueError, match=r"this learner is of a custom class, .*Mine, .*learner=") as caught:
        qs.load(tmp_path / "learner")
    assert "\n" not in str(caught.value)
    given = Mine(qs.nets.MLP(1, [4], 1))
    assert qs.load(tmp_path / "learner", learner=given) is given
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), learner.parameters(), strict=True))


def test_learner_and_network_are_distinguished(tmp_path: Path) -> None:
    def network() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(1, 1))

    qs.save(qs.MAML(network()), tmp_path / "foreign")
    qs.save(make("gradient"), tmp_path / "known")
    given = make("gradient")
    assert qs.load(tmp_path / "known", learner=given) is given  # not needed, but accepted
    with pytest.raises(ValueError, match="network= is a whole CNP; pass it as learner="):
        qs.load(tmp_path / "foreign", network=qs.CNP(width=4))
    with pytest.raises(TypeError, match=r"learner is a Sequential, which has no adapt.*as network="):
        qs.load(tmp_path / "foreign", learner=network())
    with pytest.raises(ValueError, match="learner= and network= are both given"):
        qs.load(tmp_path / "foreign", learner=qs.MAML(network()), network=network())
    assert not qs.load(tmp_path / "foreign", learner=qs.MAML(network())).training


def test_bad_arguments_are_one_line(tmp_path: Path) -> None:
    qs.save(make("gradient"), tmp_path / "learner")
    for options, message in (
        ({"network": 3}, "network is a int"),
        ({"learner": 3}, "learner is a int"),
        ({"network": qs.nets.MLP(1, [8], 1)}, "this MAML needs no network; leave network= out"),
        ({"device": "bla"}, "unknown device 'bla'"),
        ({"path": 3}, "path=3; expected the path of a folder"),
    ):
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            qs.load(**{"path": tmp_path / "learner", **options})  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="learner is a int"):
        qs.save(3, tmp_path / "three")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path=3"):
        qs.save(make("gradient"), 3)  # type: ignore[arg-type]
    (tmp_path / "thesis").mkdir()
    with pytest.raises(CheckpointError, match="thesis is not a checkpoint"):
        qs.load(tmp_path / "thesis")


def test_a_loss_of_the_package_is_saved_by_its_name(tmp_path: Path) -> None:
    from quickstudy.likelihoods import default_loss

    likelihood = qs.likelihoods.Gaussian(0.5, learn=True)
    learner = qs.MAML(qs.nets.MLP(1, [4], 1), likelihood=likelihood, inner_loss=default_loss)
    found = qs.load(qs.save(learner, tmp_path / "saved"))
    assert found.inner_loss is default_loss

    spec = to_spec(learner) | {"inner_loss": {"class": "function", "name": "choose_loss"}}
    with pytest.raises(ValueError, match="unknown function 'choose_loss'"):
        from_spec(spec)
