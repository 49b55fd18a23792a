"""The wheel and the sdist are built and looked into; what is installed is tried by `make release-check` itself."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_what_is_built_passes() -> None:
    """It fetches what builds and checks from the package index, or from pip's cache."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "release", "--built"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and "7 passed, 0 failed" in done.stdout, done.stdout + done.stderr
