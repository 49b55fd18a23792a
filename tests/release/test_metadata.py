"""What `make release-check` finds in metadata, and which interpreters it finds."""

import sys
from email import message_from_string
from pathlib import Path

import pytest
from release.environment import CommandError, find_pythons
from release.metadata import check_metadata, lowest, read_project

PROJECT = {
    "name": "quickstudy",
    "license": "Apache-2.0",
    "requires-python": ">=3.11",
    "optional-dependencies": {"images": ["mlxtend>=0.23"]},
}
GOOD = """Metadata-Version: 2.4
Name: quickstudy
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.11
Description-Content-Type: text/markdown
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Classifier: Programming Language :: Python :: 3.13
Requires-Dist: numpy>=1.26
Provides-Extra: images
Requires-Dist: mlxtend>=0.23; extra == 'images'
"""


def test_good_metadata_have_no_faults() -> None:
    assert check_metadata(message_from_string(GOOD), PROJECT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("License-Expression: Apache-2.0", "License: Apache", "License-Expression is None; expected 'Apache-2.0'"),
        ("License-File: LICENSE\n", "", "License-File is None; expected LICENSE"),
        ("Version: 2.4", "Version: 2.5", "Metadata-Version is '2.5'"),
        ("Python: >=3.11", "Python: >=3.12", "Requires-Python is '>=3.12'"),
        ("Classifier: Programming Language :: Python :: 3.13\n", "", "no classifier says that Python 3.13"),
        ("Requires-Dist: numpy", "Classifier: License :: OSI Approved\nRequires-Dist: numpy", "indexes refuse it"),
        ("numpy>=1.26", "numpy<3,>=1.26", "numpy<3,>=1.26 has an upper bound"),
        ("numpy>=1.26", "numpy==1.26", "numpy==1.26 has an upper bound"),
        ("numpy>=1.26", "numpy @ git+https://example.org/numpy", "is no release of an index"),
        ("Requires-Dist: mlxtend>=0.23; extra == 'images'\n", "", "the extra images installs nothing"),
    ],
)
def test_a_fault_is_named(old: str, new: str, said: str) -> None:
    assert old in GOOD
    [fault] = check_metadata(message_from_string(GOOD.replace(old, new)), PROJECT)
    assert said in fault


def test_the_oldest_versions_are_the_bounds_of_all_dependencies() -> None:
    project = read_project(Path(__file__).parents[2])
    assert "torch==2.6" in lowest(project)
    assert all("==" in need and ">" not in need for need in lowest(project))


def test_extras_are_those_of_the_project() -> None:
    faults = check_metadata(message_from_string(GOOD.replace("images", "image")), PROJECT)
    assert faults == ["the extras are image; expected those of pyproject.toml"]


def test_interpreters_are_those_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of that name which does not run, as pyenv puts on the path, is no interpreter."""
    monkeypatch.setenv("PYTHONS", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    broken = tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    assert find_pythons(["3.12", "3.13"]) == {}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    real = tmp_path / "versions" / f"{version}.9" / "bin/python"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    assert find_pythons([version]) == {version: str(real)}
    monkeypatch.setenv("PYTHONS", sys.executable)
    assert find_pythons(["3.99"]) == {version: sys.executable}
    monkeypatch.setenv("PYTHONS", str(broken))
    with pytest.raises(CommandError, match="which does not run"):
        find_pythons([version])
