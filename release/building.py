"""The sdist and the wheel, built in isolation with the versions of constraints.txt."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.environment import CommandError, Environment, clean_variables


@dataclass(frozen=True)
class Built:
    """What was built.

    Args:
        sdist: the source archive.
        wheel: the wheel that was built from the checkout.
        from_sdist: the wheel that was built from the sdist.
    """

    sdist: Path
    wheel: Path
    from_sdist: Path


def build(tools: Environment, root: Path, place: Path) -> Built:
    """Build the sdist and the wheel of the checkout `root`, and the wheel of the sdist, in folders of `place`.

    Git is hidden from the second wheel: whoever installs an sdist may have none.
    """
    constraints = str(root / "constraints.txt")
    pinned: dict[str, Any] = {"PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints}
    tools.run("python", "-m", "build", "--sdist", "--wheel", "--outdir", str(place / "dist"), str(root), **pinned)
    [sdist], [wheel] = place.glob("dist/*.tar.gz"), place.glob("dist/*.whl")
    words = ["python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place / "again"), str(sdist)]
    tools.run(*words, PATH=str(tools.root / "bin"), **pinned)
    [again] = place.glob("again/*.whl")
    return Built(sdist, wheel, again)


def check_twine(tools: Environment, built: Built) -> list[str]:
    """What `twine check --strict` says against the metadata and the README, which indexes show."""
    try:
        tools.run("python", "-m", "twine", "check", "--strict", str(built.sdist), str(built.wheel))
    except CommandError as error:
        return [str(error)]
    return []


def make_tools(tools: Environment, root: Path) -> None:
    """Install what builds and checks: the dependency group `release`, at the versions of constraints.txt."""
    tools.install("--upgrade", "pip>=25.3")
    tools.install("--constraint", str(root / "constraints.txt"), "--group", f"{root / 'pyproject.toml'}:release")


def version_of(env: Environment, root: Path) -> str:
    """The version that the checkout says it has."""
    words = [str(env.root / "bin/python"), "-c", "from quickstudy import __version__; print(__version__)"]
    variables = clean_variables() | {"PYTHONPATH": str(root / "src")}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=variables).stdout.strip()
