"""The benchmarks run, on tiny sizes, and what they compare computes the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import bars, contenders, floor, meta_step, problems

    return {"bars": bars, "contenders": contenders, "floor": floor, "meta_step": meta_step, "problems": problems}


@pytest.mark.parametrize("kind", ["mlp", "conv", "transformer"])
def test_the_reference_and_ours_agree(benchmarks, kind):
    torch.manual_seed(0)
    sizes = {"mlp": (3, 2, 8), "conv": (2, 1, 4, 16), "transformer": (2, 1, 16, 4, 1)}
    problem = getattr(benchmarks["problems"], kind)(*sizes[kind])
    tasks = problem.sample(torch.Generator().manual_seed(1))
    loop, ours = (
        benchmarks["contenders"].builder(name)(problem).gradient(tasks) for name in ("python loop", "ours, eager")
    )
    for expected, found in zip(loop, ours, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_dense_operations_are_those_that_torch_counts(benchmarks, steps):
    """On a network without biases and activations, where nothing else is a product."""
    floor, problems = benchmarks["floor"], benchmarks["problems"]
    network = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 7, bias=False), nn.Linear(7, 2, bias=False))
    tasks = 3

    class Family:
        def sample(self, num_tasks, *, support, query, generator):
            import quickstudy as qs

            x, y = torch.randn(num_tasks, support + query, 6), torch.randn(num_tasks, support + query, 2)
            return qs.Tasks(qs.Examples(x[:, :support], y[:, :support]), qs.Examples(x[:, support:], y[:, support:]))

    problem = problems.Problem("mlp", network, Family(), tasks, 4, 9, steps)
    loop = benchmarks["contenders"].builder("python loop")(problem)
    batch = problem.sample(torch.Generator())
    counted = floor.counted(lambda: loop.gradient(batch))
    layers = [floor.Layer(a, b, 4, 9, first=i == 0) for i, (a, b) in enumerate([(6, 5), (5, 7), (7, 2)])]
    assert sum(floor.dense_flops(layer, tasks, steps) for layer in layers) == counted


def test_a_wide_layer_needs_less_arithmetic_low_rank(benchmarks):
    floor = benchmarks["floor"]
    wide = floor.Layer(256, 256, 10, 10)
    assert floor.lowrank_flops(wide, 100, 1) < floor.dense_flops(wide, 100, 1)
    assert floor.lowrank_flops(wide, 100, 30) > floor.dense_flops(wide, 100, 30)
    # nine products of 1000 rows with W, and three times four products of 10 rows with 10
    assert floor.lowrank_flops(wide, 100, 1) == 100 * (9 * 2 * 10 * 256 * 256 + 3 * 2 * 2 * 10 * 10 * 256)


def test_bars_are_judged_in_the_right_direction(benchmarks):
    verdicts = benchmarks["bars"].verdicts
    times = {"python loop": 30.0, "JAX jit+vmap": 1.0, "ours, in fit": 1.2, "ours, compiled": 1.5}
    faster, fit_beside_jax, bare_beside_jax = verdicts("25x1x40", times)
    assert (faster.measured, faster.met) == (25.0, True)
    assert fit_beside_jax.measured == pytest.approx(1.2) and fit_beside_jax.met is False
    assert bare_beside_jax.measured == pytest.approx(1.5) and bare_beside_jax.met is True
    assert [v.met for v in verdicts("25x1x40", {})] == [None, None, None]


def test_meta_steps_are_measured_and_put_beside_the_loop(tmp_path):
    shown = run(
        "meta_step",
        "--quick",
        "--case",
        "25x1x40",
        "--out",
        str(tmp_path),
        "--contender",
        "python loop",
        "--contender",
        "eager",
    )
    rows = json.loads((tmp_path / "meta_step.json").read_text())["cases"]["25x1x40"]["contenders"]
    assert rows.keys() == {"python loop", "ours, eager"}
    assert rows["ours, eager"]["error"] < 1e-4
    assert all(row["milliseconds"] > 0 for row in rows.values())
    assert "times faster than the loop" in shown


@pytest.mark.slow  # each case is measured in a process of its own
def test_memory_and_the_report_keep_the_cases_of_earlier_runs(tmp_path):
    for steps in ("1", "10"):
        run("memory", "--quick", "--case", steps, "--out", str(tmp_path), "--contender", "plain")
    cases = json.loads((tmp_path / "memory.json").read_text())["cases"]
    assert set(cases) == {"1", "10"}
    run("report", str(tmp_path))
    assert "plain unrolling" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "memory.png").stat().st_size > 0
