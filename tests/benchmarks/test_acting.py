"""The benchmark of acting runs, on tiny sizes, and what it times is what an iteration does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import acting

    return acting


def test_policies_and_an_iteration_are_measured_and_shown(tmp_path: Path) -> None:
    shown = run("acting", "--quick", "--out", str(tmp_path))
    cases = json.loads((tmp_path / "acting.json").read_text())["cases"]
    rows = cases["policies"]["contenders"]
    assert len(rows) == 4 and cases["policies"]["environments"] == 4
    for row in rows.values():
        assert row["steps_per_second"] * row["milliseconds"] / 1e3 == pytest.approx(4)
    assert len(cases["iteration"]["pieces"]) == 7 and cases["iteration"]["transitions"] == 40
    assert "times AsyncVectorEnv" in shown and "conjugate gradients" in shown
    run("report", str(tmp_path))
    assert "conjugate gradients" in (tmp_path / "table.md").read_text()


def test_the_pieces_are_the_iteration(acting) -> None:
    learner, env = acting.navigation(quick=True)
    began = {k: v.clone() for k, v in learner.state_dict().items()}
    told = learner.update(env, generator=torch.Generator().manual_seed(1))
    expected = {k: v.clone() for k, v in learner.state_dict().items()}
    learner.load_state_dict(began)
    watch = acting.Pieces()
    step = watch.step(learner, watch.practise(learner, env, torch.Generator().manual_seed(1)))
    assert all(torch.equal(v, expected[k]) for k, v in learner.state_dict().items())
    assert step.kl == told["kl"] or step.kl != step.kl
    assert all(seconds > 0 for seconds in watch.seconds.values())


def test_gymnasiums_environments_are_driven_by_the_same_policies(acting) -> None:
    """Their actions are those that the adapted policies give, task by task."""
    policy, adapted, _ = acting.learned_policies(2, 3)
    seen = []

    class Env:
        def reset(self, seed: int):
            return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).numpy(), {}

        def step(self, action):
            seen.append(action)
            return self.reset(1)[0], None, None, None, {}

    acting.theirs(policy, adapted, Env())()
    outputs = adapted(torch.from_numpy(Env().reset(0)[0]).unflatten(0, (2, 3)))
    noise = policy.noise(torch.zeros(2, 3, 2), steps=64, generator=torch.Generator().manual_seed(0))[0]
    assert seen[0].tolist() == policy.act(outputs, noise).flatten().tolist()
