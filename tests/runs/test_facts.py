"""Where a result comes from."""

import subprocess
from pathlib import Path

from quickstudy.runs import facts

ROOT = Path(__file__).parents[2]


def test_a_checkout_knows_its_commit_whatever_it_is_told(monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_COMMIT", "abc123")
    expected = "abc123"
    if (ROOT / ".git").exists():
        expected = subprocess.check_output(["git", "-C", str(ROOT), "rev-parse", "HEAD"], text=True).strip()
    assert facts.commit.__wrapped__() == expected


def test_a_copy_without_history_is_told_its_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(facts, "__file__", str(tmp_path / "src/quickstudy/runs/facts.py"))
    assert facts.commit.__wrapped__() is None
    monkeypatch.setenv("QUICKSTUDY_COMMIT", "abc123")
    assert facts.commit.__wrapped__() == "abc123"
