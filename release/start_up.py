"""How long `import quickstudy` and `--help` take from the wheel, relative to a source checkout."""

import subprocess
import time
from pathlib import Path

from release.environment import CommandError, Environment, clean_variables

RUNS = 40
MOST = 1.5
STARTS = {
    "import quickstudy": ["-c", "import quickstudy"],
    "quickstudy --help": ["-m", "quickstudy", "--help"],
}


def check_start_up(env: Environment, root: Path) -> str:
    """The ratios of the shortest times; the two kinds of start take turns. Raises CommandError for one above 1.5.

    Args:
        env: an environment with the wheel.
        root: the source checkout.
    """
    said = []
    for name, words in STARTS.items():
        wheel, source = [], []
        for _ in range(RUNS):
            wheel.append(_seconds(env, words, {}))
            source.append(_seconds(env, words, {"PYTHONPATH": str(root / "src")}))
        ratio = min(wheel) / min(source)
        said.append(f"{name} {1000 * min(wheel):.0f} ms, {ratio:.2f} of the checkout's")
        if ratio > MOST:
            raise CommandError(said[-1])
    return "; ".join(said)


def _seconds(env: Environment, words: list[str], variables: dict[str, str]) -> float:
    begin = time.perf_counter()
    command = [str(env.root / "bin/python"), *words]
    subprocess.run(command, cwd=env.folder, env=clean_variables() | variables, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
