"""The page on security: the tests that it names exist, and so do the bounds that it states."""

import re
from pathlib import Path

from quickstudy.play import server
from quickstudy.runs import reading

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_the_tests_that_the_page_names_exist() -> None:
    rows = [line for line in PAGE.splitlines() if "`test" in line]
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    named = 0
    for row in rows:
        inside = [text for name, text in files.items() if f"`{name}`" in row] or list(files.values())
        for name in re.findall(r"`(test_\w+|[A-Z]+)`", row):
            named += 1
            pattern = rf"^(def {name}\(|{name}\b.* = )"
            assert any(re.search(pattern, text, re.MULTILINE) for text in inside), f"{name} is not there"
    assert named > 10


def test_the_bounds_that_the_page_states_are_those_of_the_code() -> None:
    assert f"at most {reading.LARGEST >> 20} MiB, and nested at most {reading.DEEPEST} deep" in PAGE
    assert f"a message has at most {server.LARGEST >> 10} KiB" in PAGE
    assert f"at most {server.MOST_WAITING} messages wait" in PAGE
