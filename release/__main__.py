"""`python -m release`: build, look into what was built, and use it on every Python that is found.

make release-check
make release-check PYTHONS="python3.11 python3.13"
python -m release --lowest
make release-check TORCH_INDEX=https://download.pytorch.org/whl/cpu
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from release.building import Built, build, check_twine, make_tools, version_of
from release.contents import check_sdist, check_wheel, differences
from release.environment import CommandError, Environment, find_pythons, make_environment
from release.metadata import PYTHONS, check_metadata, lowest, read_metadata, read_project
from release.start_up import check_start_up
from release.trial import steps

ROOT = Path(__file__).parents[1]


class Log:
    """Prints a line for each check, and counts what failed."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, what: str, done: Callable[[], Any]) -> Any:
        """Do a check; its result. Lists of faults and errors are failures."""
        begin = time.perf_counter()
        try:
            found = done()
        except Exception as error:  # the other checks go on
            found, faults = None, [str(error) if isinstance(error, CommandError) else repr(error)]
        else:
            faults = found if isinstance(found, list) else []
        self.failed += bool(faults)
        self.passed += not faults
        more = f": {found}" if isinstance(found, str) and found and "\n" not in found else ""
        print(f"{'FAILED' if faults else 'ok    '} {what}{more} ({time.perf_counter() - begin:.0f} s)", flush=True)
        for fault in faults:
            print("       " + fault.strip().replace("\n", "\n       "), flush=True)
        return found


def check_built(log: Log, tools: Environment, built: Built) -> None:
    """Look into the wheel and the sdist."""
    size = built.wheel.stat().st_size
    log.check(f"contents and size of {built.wheel.name} ({size / 1e6:.1f} MB)", lambda: check_wheel(built.wheel))
    log.check(f"contents of {built.sdist.name}", lambda: check_sdist(built.sdist))
    log.check("the sdist, without git, builds the same wheel", lambda: differences(built.wheel, built.from_sdist))
    log.check("metadata", lambda: check_metadata(read_metadata(built.wheel), read_project(ROOT)))
    log.check("twine check --strict", lambda: check_twine(tools, built))


def check_python(log: Log, python: str, wheel: Path, place: Path, constraints: Path) -> None:
    """Install the wheel in an empty environment of this interpreter, and use it."""
    env = make_environment(python, place)
    pinned = ["--constraint", str(constraints)]
    index = os.environ.get("TORCH_INDEX")

    def install() -> None:
        env.install(*pinned, "torch", *(["--extra-index-url", index] if index else []))
        env.install(*pinned, str(wheel))

    failed = log.failed
    log.check("torch and the wheel are installed", install)
    if log.failed > failed:
        return
    for what, step in steps(env, version_of(env, ROOT)):
        log.check(what, step)
    log.check("start-up", lambda: check_start_up(env, ROOT))


def main() -> int:
    """Run all checks; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("--built", action="store_true", help="only look into what was built; install nothing")
    parser.add_argument("--lowest", action="store_true", help="the oldest versions that are allowed, on Python 3.11")
    given = parser.parse_args()
    only_built, log = given.built, Log()
    pythons = find_pythons(PYTHONS[:1] if given.lowest else PYTHONS)
    place = Path(tempfile.mkdtemp(prefix="quickstudy-release-"))
    constraints = ROOT / "constraints.txt"
    if given.lowest:
        constraints = place / "lowest.txt"
        constraints.write_text("\n".join(lowest(read_project(ROOT))) + "\n")
    try:
        tools = make_environment(sys.executable, place / "tools")
        log.check("tools", lambda: make_tools(tools, ROOT))
        built = log.check("sdist and wheel are built in isolation", lambda: build(tools, ROOT, place))
        if built is not None:
            check_built(log, tools, built)
            for version, python in {} if only_built else pythons.items():
                print(f"\nPython {version} ({python})")
                check_python(log, python, built.wheel, place / version, constraints)
                shutil.rmtree(place / version)  # torch is large
    finally:
        shutil.rmtree(place, ignore_errors=True)
    missing = [version for version in PYTHONS if version not in pythons]
    if missing and not only_built:
        print(f"\nnot run: Python {', '.join(missing)}; PYTHONS= names interpreters that were not found")
    print(f"{log.passed} passed, {log.failed} failed")
    return int(log.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
