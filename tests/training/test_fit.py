"""`fit`: what it writes, what it decides, and what it refuses before writing anything."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from training.workload import STEPS, Waves, make, train

import quickstudy as qs
import quickstudy.training.fit as fit_module
from quickstudy.runs import place
from quickstudy.runs.lock import Lock
from quickstudy.runs.run import read_config, read_result
from quickstudy.training import loop
from quickstudy.training.loggers.tensorboard import TensorBoard
from quickstudy.training.loop import NonFiniteLossError


class Line(torch.nn.Module):
    """A learner of the user's own, with the two methods of the contract: y = w * (mean of support y)."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([start]))
        self.unused = torch.nn.Parameter(torch.ones(2))

    def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
        """Squared error."""
        return (tasks.query.y - self.w * tasks.support.y.mean(1, keepdim=True)).square().mean()

    def adapt(
        self, support: qs.Examples, *, steps: Any = None, create_graph: bool = False, generator: Any = None
    ) -> Any:
        """Not used here."""
        raise NotImplementedError


class Vector(Line):
    """Forgets to take the mean."""

    def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
        """Per point."""
        return (tasks.query.y - self.w).square()


class Detached(Line):
    """Cuts the graph."""

    def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
        """Without a gradient."""
        return super().meta_loss(tasks).detach()


class Twice:
    """Draws another number of tasks than was asked for."""

    def sample(self, num_tasks: int, **options: Any) -> qs.Tasks:
        """Twice as many."""
        return Constant().sample(2 * num_tasks, **options)


class Unsplit:
    """Knows of no split."""

    def sample(self, num_tasks: int, *, support: int, query: int, generator: Any = None) -> qs.Tasks:
        """As Constant."""
        return Constant().sample(num_tasks, support=support, query=query)


class Reading(Line):
    """Has a `forward` of its own, which is no loss."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A prediction."""
        return self.w * x.nope  # type: ignore[attr-defined]


class Constant:
    """Tasks whose outputs are all `y`; from call `bad_from` on, one of them is NaN."""

    def __init__(self, y: float = 1.0, bad_from: int | None = None):
        self.y, self.bad_from, self.calls = y, bad_from, 0

    def __repr__(self) -> str:
        return f"Constant({self.y})"

    def sample(
        self, num_tasks: int, *, support: int, query: int, split: str = "train", generator: Any = None
    ) -> qs.Tasks:
        """One value for all."""
        sets = [
            qs.Examples(torch.zeros(num_tasks, n, 1), torch.full((num_tasks, n, 1), self.y)) for n in (support, query)
        ]
        self.calls += split == "train"
        if self.bad_from is not None and self.calls >= self.bad_from:
            sets[1].y[0, 0, 0] = math.nan
        return qs.Tasks(*sets)


def small(out: Path, **options: Any) -> Any:
    """A run of the user's own learner on constants."""
    return qs.fit(options.pop("learner", None) or Line(), options.pop("family", None) or Constant(), out=out, **options)


def test_two_runs_of_one_seed_are_equal_and_other_seeds_are_not(tmp_path: Path) -> None:
    runs = [train("process", tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    weights = [torch.cat([p.flatten() for p in run.learner.parameters()]) for run in runs]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert [line["loss"] for line in runs[0].metrics] == [line["loss"] for line in runs[1].metrics]


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    make("process")  # seeds torch
    expected = torch.rand(3)
    train("process", tmp_path / "run", steps=3)
    make("process")
    train("process", tmp_path / "again", steps=3)
    torch.manual_seed(0)
    qs.NeuralProcess(width=8)
    assert torch.equal(torch.rand(3), expected)


def test_a_step_of_adam_by_hand(tmp_path: Path) -> None:
    """Adam's first steps have length lr whatever the gradient: w goes 0, lr, about 2 lr."""
    run = small(tmp_path / "run", steps=2, lr=0.01, log_every=1)
    assert run.learner.w.item() == pytest.approx(0.02, rel=1e-3)
    losses = [line["loss"] for line in run.metrics]
    assert losses == pytest.approx([1.0, (1 - 0.01) ** 2], rel=1e-4)
    assert run.learner.unused.tolist() == [1.0, 1.0]  # the loss does not reach it: it stays


def test_only_meta_loss_is_called_of_a_learner_of_ones_own(tmp_path: Path) -> None:
    class Subclass(qs.MAML):
        def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
            return 100 + super().meta_loss(tasks)

    assert small(tmp_path / "reading", learner=Reading(), steps=2, lr=0.01).learner.w.item() == pytest.approx(
        0.02, rel=1e-3
    )
    run = small(tmp_path / "subclass", learner=Subclass(qs.nets.MLP(1, [3], 1)), steps=1)
    assert run.metrics[0]["loss"] > 100
    assert run.metrics[0]["validation_loss"] > 100


def test_clipping_and_the_optimiser_of_ones_own(tmp_path: Path) -> None:
    """Plain SGD from 0 on (1 - w)^2: the gradient is -2, clipped to norm 0.5."""

    def sgd(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.1)

    run = small(tmp_path / "run", steps=1, optimizer=sgd, clip=0.5)
    assert run.learner.w.item() == pytest.approx(0.05, rel=1e-4)
    free = small(tmp_path / "free", steps=1, optimizer=sgd)
    assert free.learner.w.item() == pytest.approx(0.2, rel=1e-6)
    assert "sgd" in read_config(tmp_path / "run")["optimizer"]


def test_a_learner_has_defaults_of_its_own(tmp_path: Path) -> None:
    class Careful(Line):
        training_defaults: ClassVar[dict[str, Any]] = {"lr": 0.25, "clip": 0.5}

    run = small(tmp_path / "run", learner=Careful(), steps=1)
    assert [run.config[name] for name in ("lr", "schedule", "clip")] == [0.25, "constant", 0.5]
    assert small(tmp_path / "run", learner=Careful(), steps=1, exist="resume").steps == 1
    run = small(tmp_path / "free", learner=Careful(), steps=1, lr=0.1, schedule="cosine", clip=math.inf)
    assert [run.config[name] for name in ("lr", "schedule", "clip")] == [0.1, "cosine", None]
    run = small(tmp_path / "usual", steps=1)
    assert [run.config[name] for name in ("lr", "schedule", "clip")] == [1e-3, "constant", None]
    Careful.training_defaults = {"rate": 0.1}
    with pytest.raises(
        TypeError, match=r"Careful\.training_defaults is .*rate.*; expected a mapping .* lr, schedule, clip"
    ):
        small(tmp_path / "bad", learner=Careful(), steps=1)
    assert not (tmp_path / "bad").exists()


def test_numbers_may_be_numpys(tmp_path: Path) -> None:
    numbers = {"steps": np.int64(2), "seed": np.int32(1), "tasks": np.uint8(3), "lr": np.float32(0.25)}
    run = small(tmp_path / "run", **numbers, support=(np.int64(2), np.int64(4)))
    assert (run.config["steps"], run.config["lr"], run.config["support"]) == (2, 0.25, [2, 4])
    assert small(tmp_path / "run", steps=2, seed=1, tasks=3, lr=0.25, support=(2, 4), exist="resume").steps == 2


def test_the_schedule_sets_the_rate(tmp_path: Path) -> None:
    run = small(tmp_path / "run", steps=10, lr=0.3, schedule=lambda step: 1 / (step + 1), log_every=1)
    assert [line["lr"] for line in run.metrics] == pytest.approx([0.3 / (s + 1) for s in range(10)])


def test_what_a_run_folder_holds(tmp_path: Path) -> None:
    run = train("gradient", tmp_path / "run", recipe="waves", command="quickstudy run waves", options={"a": [1]})
    config, result = read_config(run.path), read_result(run.path)
    assert config["learner"]["class"] == "MAML"
    assert config["engine"] == "batched"
    assert (config["compile"], config["threads"], config["device"]) == (False, 1, "cpu")
    assert config["options"] == {"a": [1]}
    assert set(result) == {"recipe", "command", "seed", "steps", "seconds", "commit", "hardware", "metrics"}
    assert (result["recipe"], result["seed"], result["steps"]) == ("waves", 0, STEPS)
    assert result["commit"] is None or re.fullmatch("[0-9a-f]{40}", result["commit"])
    assert re.fullmatch(r"\d+ cores? of an? .+", result["hardware"])
    metric = result["metrics"]["validation_loss"]
    assert (metric["n"], metric["over"]) == (6, "tasks")
    last = run.metrics[-1]
    assert last["step"] == STEPS
    assert set(last) == {"step", "loss", "lr", "validation_loss", "seconds", "steps_per_second"}
    assert [line["step"] for line in run.metrics] == [s for s in range(1, 61) if s % 3 == 0 or s % 7 == 0]
    evaluated = {line["step"]: line["validation_loss"] for line in run.metrics if "validation_loss" in line}
    assert run.best_step == min(evaluated, key=evaluated.__getitem__)
    assert metric["mean"] == pytest.approx(evaluated[STEPS], rel=0.2)  # one by one, sizes as drawn
    assert (run.path / "tensorboard").is_dir()
    assert list((run.path / "figures").iterdir()) == []


def test_the_best_weights_are_those_of_the_best_step(tmp_path: Path) -> None:
    """A rate that overshoots: the best is in the middle."""
    run = small(tmp_path / "run", steps=40, lr=0.05, evaluate_every=1, schedule=lambda step: 1.0)
    assert run.best_step is not None
    assert 15 <= run.best_step <= 25
    loss = next(line["validation_loss"] for line in run.metrics if line["step"] == run.best_step)
    best = run.load_best()
    assert best is run.learner
    assert (1 - best.w.item()) ** 2 == pytest.approx(loss, abs=1e-6)
    assert qs.load(run.path, network=Line()).w.item() == best.w.item()


def test_early_stop(tmp_path: Path) -> None:
    run = small(tmp_path / "run", steps=400, lr=0.05, evaluate_every=1, patience=4)
    evaluated = [line["validation_loss"] for line in run.metrics]
    best = min(range(len(evaluated)), key=evaluated.__getitem__)
    assert run.steps == len(evaluated) == best + 1 + 4
    assert run.steps < 400
    assert read_result(run.path)["steps"] == run.steps
    state = json.loads((run.path / "checkpoints" / "last" / "state.json").read_text())["standing"]
    assert state["stopped_early"] is True
    assert small(run.path, steps=400, lr=0.05, evaluate_every=1, patience=4, exist="resume").steps == run.steps


def test_evaluation_is_in_eval_mode_and_training_in_training_mode(tmp_path: Path) -> None:
    modes = []

    class Watching(Line):
        def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
            modes.append((tasks.num_tasks, self.training))
            return super().meta_loss(tasks)

    learner = Watching().eval()
    small(tmp_path / "run", learner=learner, steps=2, tasks=3, validation_tasks=2)
    assert {training for count, training in modes if count == 3} == {True}
    assert {training for count, training in modes if count < 3} == {False}
    assert not learner.training


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Any] = []
    small(tmp_path / "run", steps=5, progress=lambda *news: told.append(news))
    assert told[0] == (0, 5, None, None)
    assert [news[:2] for news in told[1:]] == [(s, 5) for s in range(1, 6)]
    assert all(loss > 0 and rate > 0 for _, _, loss, rate in told[1:])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        small(tmp_path / "run", steps=50, lr=1e20, checkpoint_every=1, seed=3)
    error = caught.value
    assert f"at step {error.step} (seed 3)" in str(error)
    assert "smaller lr" in str(error)
    assert "\n" not in str(error)
    assert error.checkpoint == tmp_path / "run" / "checkpoints" / "last"
    good = qs.load(error.checkpoint, network=Line())
    assert math.isfinite(good.w.item())
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Kink(Line):
        def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
            return super().meta_loss(tasks) + (self.w * 0).sqrt().sum()  # value 0, slope 0 * infinity

    with pytest.raises(NonFiniteLossError, match=r"the gradient became NaN or infinite at step 0 \(seed 0\)"):
        small(tmp_path / "run", learner=Kink(), steps=3)


def test_bad_data_is_told_from_a_bad_rate(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 5 .*the batch itself is bad: query\.y has a NaN") as caught:
        small(tmp_path / "run", family=Constant(bad_from=7), steps=20)  # the first call only looks
    assert caught.value.step == 5
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses stay on the device until they are needed, as on an accelerator."""

    def make_loop(*arguments: Any, **options: Any) -> loop.Loop:
        made = loop.Loop(*arguments, **options)
        made._waits, made._sum = False, torch.tensor(made.standing.loss_sum, dtype=torch.float64)
        return made

    monkeypatch.setattr(fit_module, "Loop", make_loop)


def test_losses_that_are_read_late_are_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    usual = train("gradient", tmp_path / "usual")
    request.getfixturevalue("unread")
    late = train("gradient", tmp_path / "late")
    assert [line["loss"] for line in late.metrics] == [line["loss"] for line in usual.metrics]
    assert all(torch.equal(a, b) for a, b in zip(late.learner.parameters(), usual.learner.parameters(), strict=True))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("bad_from", [7, 9])
def test_losses_that_are_read_late_still_stop_the_run(tmp_path: Path, bad_from: int) -> None:
    with pytest.raises(NonFiniteLossError, match=r"in the \d+ steps before step"):
        small(tmp_path / "run", family=Constant(bad_from=bad_from), steps=20, log_every=4, checkpoint_every=3)
    last = qs.load(tmp_path / "run", which="last", network=Line())
    assert math.isfinite(last.w.item())


BAD = {
    "no steps": ({"steps": 0}, "steps=0; expected a whole number of at least 1"),
    "half a step": ({"steps": 1.5}, "steps=1.5; expected a whole number"),
    "a negative rate": ({"lr": -1e-3}, "lr=-0.001; expected a positive number"),
    "a rate that is no number": ({"lr": math.nan}, "lr=nan"),
    "no clip": ({"clip": 0.0}, "clip=0.0"),
    "no tasks": ({"tasks": 0}, "tasks=0"),
    "a negative seed": ({"seed": -1}, "seed=-1"),
    "a reversed range": ({"support": (5, 2)}, r"support=\(5, 2\) is reversed"),
    "a range of three": ({"query": (1, 2, 3)}, "query=.* expected a number of points or a range"),
    "no query": ({"query": 0}, "query=0; expected a whole number of at least 1"),
    "too few points": ({"support": (1, 9), "query": (3, 20), "points": 10}, "points=10 .* expected at least 12"),
    "no patience": ({"patience": 0}, "patience=0"),
    "no interval": ({"checkpoint_every": 0}, "checkpoint_every=0"),
    "an unknown schedule": ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
    "a schedule of nothing": ({"schedule": lambda step: None}, "schedule gave None at step 0"),
    "a schedule of NaN": ({"schedule": lambda step: math.nan}, "schedule gave nan at step 0"),
    "an optimiser that is made": ({"optimizer": torch.optim.Adam([Line().w])}, "optimizer=an Adam object; expected a"),
    "no optimiser": ({"optimizer": lambda params: None}, "optimizer made a NoneType"),
    "an optimiser with a closure": ({"optimizer": torch.optim.LBFGS}, "optimizer made a LBFGS, which evaluates"),
    "no loggers": ({"loggers": 3}, "loggers=3; expected a list"),
    "a logger that is none": ({"loggers": [3]}, r"loggers=\[3\]; expected a list"),
    "no progress": ({"progress": 3}, "progress=3; expected True, False or a callable"),
    "a recipe that is no text": ({"recipe": 3}, "recipe=3; expected a text"),
    "yes": ({"compile": "yes"}, "compile='yes'; expected True, False or 'auto'"),
    "neither": ({"compile": None}, "compile=None; expected True"),
    "a loss without gradient": ({"learner": Detached()}, "meta_loss of Detached has no gradient"),
    "too many tasks": ({"family": Twice()}, "drew 50 tasks where 25 were asked for"),
    "a class for a family": ({"family": qs.tasks.Sinusoid}, r"class Sinusoid; make one: Sinusoid\(\)"),
    "a family without splits": ({"family": Unsplit()}, r"Unsplit\.sample cannot be called .* 'split'"),
    "an optimiser by name": ({"optimizer": "sgd"}, "optimizer='sgd'; expected a callable"),
    "an unknown device": ({"device": "gpu"}, "unknown device 'gpu'"),
    "a device that is not there": ({"device": "cuda:99"}, "torch sees 0 GPUs"),
    "an unknown exist": ({"exist": "maybe"}, "exist='maybe'"),
    "options that are no JSON": ({"options": {"a": object()}}, "options cannot be written"),
    "no path": ({"out": ""}, "out=''"),
    "nothing to train": ({"learner": torch.nn.Identity()}, "learner is a Identity"),
    "everything frozen": ({"learner": Line().requires_grad_(False)}, "nothing to train"),
    "a loss per point": ({"learner": Vector()}, r"meta_loss returned shape \[25, 10, 1\]; expected a scalar"),
    "no family": ({"family": [1, 2]}, "family is a list"),
    "data in double precision": ({"learner": Line().double()}, "float64"),
    "what cannot be compiled": ({"compile": True}, "compile=True: Line cannot be compiled"),
    "bad data at once": ({"family": Constant(y=math.inf)}, "infinite"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts GPUs")
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_one_line_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    options, told = BAD[case]
    arguments = {"steps": 3, "out": tmp_path / "run", "learner": Line(), "family": Constant(), **options}
    with pytest.raises((ValueError, TypeError), match=told) as caught:
        qs.fit(arguments.pop("learner"), arguments.pop("family"), **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_resume_obeys_how_the_run_was_begun(tmp_path: Path) -> None:
    train("gradient", tmp_path / "run", steps=2, support=3)
    with pytest.raises(ValueError, match="begun with compile=False"):
        train("gradient", tmp_path / "run", steps=2, compile=True, exist="resume")


def test_a_run_in_memory_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"steps": 40, "lr": 0.05, "evaluate_every": 1}
    with pytest.warns(UserWarning, match=r"kept in memory .out=None.*give out='runs/NAME'") as told:
        run = qs.fit(Line(), Constant(), **options)
    assert told[0].filename == __file__  # it points at the caller
    assert list(tmp_path.iterdir()) == []
    same = small(tmp_path / "run", **options)
    assert run.path is None and (run.steps, run.best_step) == (40, same.best_step)
    assert run.learner.w.item() == same.learner.w.item()
    clock = {"seconds", "steps_per_second"}
    told_lines = [[{k: v for k, v in line.items() if k not in clock} for line in r.metrics] for r in (run, same)]
    assert told_lines[0] == told_lines[1]
    assert {k: v for k, v in run.config.items() if k != "job"} == {k: v for k, v in same.config.items() if k != "job"}
    assert run.load_best() is run.learner and run.learner.w.item() == same.load_best().w.item()


@pytest.mark.filterwarnings("ignore:the run is kept in memory")
def test_a_run_in_memory_that_fails_says_that_nothing_was_saved() -> None:
    with pytest.raises(NonFiniteLossError, match="nothing was saved .out=None.; try a smaller lr") as caught:
        qs.fit(Line(), Constant(), steps=50, lr=1e20)
    assert caught.value.checkpoint is None


@pytest.mark.filterwarnings("ignore:the run is kept in memory")
def test_a_run_in_memory_whose_validation_is_never_finite_has_no_best_weights() -> None:
    class Blind(Line):
        def meta_loss(self, tasks: qs.Tasks) -> torch.Tensor:
            return super().meta_loss(tasks) * (1.0 if self.training else math.inf)

    run = qs.fit(Blind(), Constant(), steps=1)
    with pytest.raises(RuntimeError, match="has no best weights: its validation loss was never finite"):
        run.load_best()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"exist": "resume"}, "exist='resume' needs a run folder; give its path as out="),
        ({"exist": "maybe"}, "exist='maybe' needs a run folder"),
        ({"loggers": [TensorBoard()]}, "loggers need a run folder"),
    ],
)
def test_what_needs_a_folder_is_refused_in_memory(options: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        qs.fit(Line(), Constant(), steps=1, **options)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    small(tmp_path / "run", steps=1)
    with pytest.raises(FileExistsError, match="exist='resume'"):
        small(tmp_path / "run", steps=1)


@pytest.mark.parametrize("exist", ["error", "resume"])
def test_a_foreign_folder_is_never_written_into(tmp_path: Path, exist: str) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("hello")
    with pytest.raises(FileExistsError, match="not a run of quickstudy"):
        small(tmp_path / "thesis", steps=1, exist=exist)
    with pytest.raises(FileExistsError, match="not a run of quickstudy"):
        small(tmp_path / "thesis" / "chapter1.tex", steps=1, exist=exist)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*; choose an out that is a folder") as caught:
        small(tmp_path / "file" / "run", steps=1)
    assert "\n" not in str(caught.value)


def test_a_full_disk_in_the_middle_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = place.write_checkpoint, 0

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            monkeypatch.setattr(os, "fsync", lambda handle: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
        original(*arguments)

    monkeypatch.setattr(place, "write_checkpoint", full)
    with pytest.raises(OSError, match="No space left on device; free some space"):
        train("gradient", tmp_path / "run")
    monkeypatch.undo()
    assert train("gradient", tmp_path / "run", exist="resume").steps == STEPS


def test_two_trainings_cannot_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with Lock(tmp_path / "run"), pytest.raises(BlockingIOError, match="another process is training"):
        small(tmp_path / "run", steps=1)
    assert small(tmp_path / "run", steps=1).steps == 1  # the lock is free again


def test_compiled_and_eager_are_compared_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(learner: Any, compile: bool) -> Any:
        exact = original(learner, False)

        def gradient(tasks: qs.Tasks) -> Any:
            loss, gradients = exact(tasks)
            return loss, [1.01 * g for g in gradients]

        return gradient if compile else exact

    from quickstudy.training import gradients

    original = gradients.make_gradient
    learner = make("gradient")
    tasks = Waves().sample(4, support=3, query=3, split="test", generator=torch.Generator())
    gradients.compare(learner, original(learner, False), tasks, 0)
    with pytest.raises(RuntimeError, match=r"the compiled meta-gradient of MAML is wrong .* compile=False"):
        gradients.compare(learner, wrong(learner, True), tasks, 0)


def test_the_comparison_leaves_no_trace_in_buffers() -> None:
    from quickstudy.training.gradients import compare, make_gradient

    learner = make("stateful").train()
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    compare(learner, make_gradient(learner, False), Waves().sample(4, support=3, query=3, split="test"), 0)
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())
