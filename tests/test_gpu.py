"""The same numbers on a GPU as on the CPU. Skipped where there is none; QUICKSTUDY_TEST_DEVICE names another device."""

import json
import os
import subprocess
import sys

import pytest
import torch
from learner_table import LEARNERS, Lines
from recipes import running
from torch.utils._pytree import tree_map

import quickstudy as qs
from quickstudy.cli import main

DEVICE = os.environ.get("QUICKSTUDY_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU")
ENGINES = ("loop", "batched", "lowrank")


def there(tree):
    return tree_map(lambda leaf: leaf.to(DEVICE) if isinstance(leaf, torch.Tensor) else leaf, tree)


def batch(num_tasks=3, support=6, query=4):
    return Lines().sample(num_tasks, support=support, query=query, generator=torch.Generator().manual_seed(0))


def gradients(learner, tasks):
    params = list(learner.parameters())
    found = torch.autograd.grad(learner.meta_loss(tasks), params, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, params, strict=True)]


# what draws noise in its loss draws other noise on another device
NOISY = tuple(name for name in LEARNERS if name.startswith("NeuralProcess") and "deterministic" not in name)


@pytest.mark.parametrize("name", [name for name in LEARNERS if name not in NOISY])
def test_loss_gradient_and_belief_are_those_of_the_cpu(name):
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    learner, tasks = LEARNERS[name](), batch()
    loss, expected = learner.meta_loss(tasks), gradients(learner, tasks)
    mean = learner.adapt(tasks.support)(tasks.query.x).mean
    learner.to(DEVICE)
    found = learner.meta_loss(there(tasks))
    assert found.device.type == torch.device(DEVICE).type
    torch.testing.assert_close(found.cpu(), loss, rtol=1e-9, atol=1e-10)
    for here, beside in zip(gradients(learner, there(tasks)), expected, strict=True):
        torch.testing.assert_close(here.cpu(), beside, rtol=1e-7, atol=1e-9)
    moved = learner.adapt(there(tasks.support))(there(tasks.query.x)).mean
    torch.testing.assert_close(moved.cpu(), mean.detach(), rtol=1e-8, atol=1e-9, check_device=True)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_trains_goes_on_and_comes_home(name, tmp_path):
    torch.manual_seed(0)
    learner = LEARNERS[name]()
    fit = {"tasks": 4, "support": (3, 5), "query": 4, "device": DEVICE, "checkpoint_every": 2}
    qs.fit(learner, qs.tasks.Sinusoid(), steps=4, out=tmp_path / "run", **fit)
    assert next(learner.parameters()).device.type == torch.device(DEVICE).type
    home = qs.load(tmp_path / "run", which="last", device="cpu", network=None)
    for here, there_ in zip(home.parameters(), learner.parameters(), strict=True):
        assert torch.equal(here, there_.cpu())
    tasks = batch()
    assert home.adapt(tasks.support)(tasks.query.x).mean.device.type == "cpu"
    predictor = learner.adapt(there(tasks.support))
    assert predictor.append(there(tasks.query))(there(tasks.query.x)).mean.isfinite().all()


def test_a_run_repeats_to_the_bit(tmp_path):
    def trained(name):
        torch.manual_seed(0)
        learner = qs.MAML(qs.nets.MLP(1, [40, 40], 1), lr=0.01)
        qs.fit(learner, qs.tasks.Sinusoid(), steps=30, out=tmp_path / name, device=DEVICE)
        return list(learner.parameters())

    assert all(torch.equal(a, b) for a, b in zip(trained("a"), trained("b"), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options", [{}, {"checkpoint": "sqrt"}, {"mixed_mode": True}], ids=lambda o: " ".join(o) or "plain"
)
def test_every_engine_gives_the_gradient_of_the_loop(engine, options):
    if engine == "loop" and options:
        pytest.skip("the loop is plain")
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    network, tasks = qs.nets.MLP(1, [16, 16], 1, activation="tanh"), there(batch())
    home = gradients(qs.MAML(network, lr=0.1, steps=3, engine="loop"), batch())
    expected = [g.to(DEVICE) for g in home]
    found = gradients(qs.MAML(network, lr=0.1, steps=3, engine=engine, **options).to(DEVICE), tasks)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_compiled_gradient_is_the_eager_one():
    torch.manual_seed(0)
    network, tasks = qs.nets.MLP(1, [40, 40], 1).to(DEVICE), there(batch(25, 10, 10))
    expected = gradients(qs.MAML(network, lr=0.01, steps=2), tasks)
    found = gradients(qs.MAML(network, lr=0.01, steps=2, compile=True), tasks)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [qs.tasks.Sinusoid, qs.tasks.GaussianProcess, qs.tasks.Harmonic, qs.tasks.Steps])
@pytest.mark.parametrize("grid", [False, True])
def test_families_make_tasks_where_the_generator_is(make, grid):
    tasks = make().sample(3, support=4, query=5, grid=grid, generator=torch.Generator(DEVICE).manual_seed(0))
    assert {t.device.type for t in (tasks.support.x, tasks.query.y)} == {torch.device(DEVICE).type}


@pytest.mark.parametrize(
    "make",
    [
        *(qs.tasks.Pendulum, qs.tasks.Pharmacokinetics, qs.tasks.SineAndLine, qs.tasks.Sawtooth),
        *(qs.tasks.PredatorPrey, qs.tasks.Mixture.bruinsma2023),
        lambda: qs.tasks.Images(torch.randint(0, 256, (20, 4, 4))),
    ],
)
def test_other_families_too(make):
    tasks = make().sample(3, support=4, query=5, generator=torch.Generator(DEVICE).manual_seed(0))
    assert tasks.support.y.device.type == torch.device(DEVICE).type and tasks.query.y.isfinite().all()


@pytest.mark.parametrize("environment", [qs.rl.Navigation2D, qs.rl.CartPole])
def test_acting_learns(environment, tmp_path):
    torch.manual_seed(0)
    home = torch.device(DEVICE)
    world = environment(num_envs=4, horizon=10, device=home)
    discrete = environment is qs.rl.CartPole
    network = qs.nets.MLP(4 if discrete else 2, [8], 2)
    policy = qs.rl.CategoricalPolicy(network) if discrete else qs.rl.GaussianPolicy(network, 2)
    qs.rl.fit(qs.rl.MAMLTRPO(policy, lr=0.1), world, steps=2, tasks=3, out=tmp_path / "run", device=DEVICE)
    assert json.loads((tmp_path / "run/result.json").read_text())["metrics"]
    assert torch.device(json.loads((tmp_path / "run/config.json").read_text())["device"]).type == home.type
    assert {p.device.type for p in policy.parameters()} == {home.type}


@pytest.mark.parametrize(
    "arguments",
    [
        ["sinusoid-np", "--steps", "20", "--width", "16", "--test-tasks", "20"],
        ["cartpole-np", *running.TINY["cartpole-np"]],
    ],
    ids=lambda a: a[0],
)
def test_a_recipe(arguments, tmp_path):
    assert main(["run", *arguments, "--device", DEVICE, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/result.json").read_text())["metrics"]


def test_torchrun_takes_the_gpu(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m"]
    recipe = ["quickstudy.cli", "run", "sinusoid-maml", "--steps", "30", "--test-tasks", "20", "--device", DEVICE]
    results = []
    for name, command in (("torchrun", torchrun), ("alone", [sys.executable, "-m"])):
        answer = subprocess.run(
            [*command, *recipe, "--out", str(tmp_path / name)], capture_output=True, text=True, timeout=300, check=False
        )
        assert answer.returncode == 0, answer.stderr
        results.append(json.loads((tmp_path / name / "result.json").read_text())["metrics"])
        devices = json.loads((tmp_path / name / "config.json").read_text())["device"]
        assert torch.device(devices).type == torch.device(DEVICE).type
    for metric, value in results[0].items():
        assert value["mean"] == pytest.approx(results[1][metric]["mean"], rel=1e-3)
