"""Empty environments, outside of the repository, and commands that run in them."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class CommandError(Exception):
    """A command did not do what it should; the message has its output."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder in which its commands run.

    Args:
        root: folder of the environment.
        folder: where commands run.
    """

    root: Path
    folder: Path

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """Run a program of the environment; what it printed. Raises CommandError for another exit status."""
        done = subprocess.run(
            [str(self.root / "bin" / words[0]), *words[1:]],
            cwd=self.folder,
            env=clean_variables() | variables,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        said = done.stdout + done.stderr
        if done.returncode != status:
            raise CommandError(f"{' '.join(words)}: exit status {done.returncode}, not {status}\n{said[-3000:]}")
        return said

    def install(self, *words: str) -> None:
        """Install by pip, under constraints if `words` name them."""
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)


def clean_variables() -> dict[str, str]:
    """The environment's variables without those that let Python see the repository, or set up quickstudy."""
    hidden = ("PYTHON", "QUICKSTUDY", "VIRTUAL_ENV", "COVERAGE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "PIP_NO_INPUT": "1"}


def make_environment(python: str, place: Path) -> Environment:
    """An environment with pip and nothing else, and its empty folder, in `place`."""
    subprocess.run([python, "-m", "venv", str(place / "env")], check=True, env=clean_variables())
    (place / "folder").mkdir()
    return Environment(place / "env", place / "folder")


def find_pythons(wanted: Sequence[str]) -> dict[str, str]:
    """Interpreters by version: those named in the variable PYTHONS, or all of the `wanted` versions that are there.

    Looked for are `pythonX.Y` on the path and what pyenv has installed.
    """
    named = os.environ.get("PYTHONS", "").split()
    places = [path for version in wanted for path in _places(version)] if not named else named
    found: dict[str, str] = {}
    for python in places:
        version = _version(python)
        if version is None and named:
            raise CommandError(f"PYTHONS names {python}, which does not run")
        if version is not None and version not in found:
            found[version] = python
    return found


def _places(version: str) -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = shutil.which(f"python{version}")
    return [*filter(None, [on_path]), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]


def _version(python: str) -> str | None:
    """The version of an interpreter that runs and can make environments, as 3.12."""
    code = "import ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, env=clean_variables())
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
