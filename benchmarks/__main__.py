"""Run every benchmark, then write the table and the plots. Each script can also be run alone, and case by case.

python -m benchmarks [--quick] [--out FOLDER]
python -m benchmarks.meta_step --case 25x1x40
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.records import FOLDER

SCRIPTS = (
    *("machine", "meta_step", "memory", "scaling", "environments", "robots", "acting", "planning", "processes"),
    "scaleout",
    "page",
)


def main() -> None:
    """One process a script, so that none inherits another's memory or threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    given = parser.parse_args()
    options = ["--out", str(given.out), *(["--quick"] if given.quick else [])]
    for script in SCRIPTS:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", f"benchmarks.{script}", *options], check=True)
        print(f"({script}: {time.perf_counter() - start:.0f} s)", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.report", str(given.out)], check=True)


if __name__ == "__main__":
    main()
