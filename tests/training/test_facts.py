"""Where a result comes from."""

from quickstudy.training import facts


def test_a_copy_without_history_is_told_its_commit(monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_COMMIT", "abc123")
    assert facts.commit.__wrapped__() == "abc123"
    monkeypatch.delenv("QUICKSTUDY_COMMIT")
    found = facts.commit.__wrapped__()
    assert found is None or len(found) == 40
