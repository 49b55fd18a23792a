"""The origin of a result: the commit of the code, and the kind of machine."""

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

import torch


@cache
def commit() -> str | None:
    """The commit of the checkout that quickstudy runs from; None if it was installed from a package.

    The value is that of the first call, so a commit made during a run does not change it. For a copy without history,
    as in a container, the environment variable QUICKSTUDY_COMMIT gives the commit.
    """
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists() or not (checkout / "src" / "quickstudy").is_dir():
        return os.environ.get("QUICKSTUDY_COMMIT") or None
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def hardware(device: torch.device | str = "cpu") -> str:
    """The machine in words, such as "2 cores of an AMD EPYC", or "one NVIDIA H100" for a GPU."""
    if torch.device(device).type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _processor()
    article = "an" if name[0] in "AEIO" else "a"
    return f"{cores} core{'s' if cores > 1 else ''} of {article} {name}"


def _processor() -> str:
    description = platform.processor() or platform.machine() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        description = found.group(1) if found else description
    known = re.search(r"(AMD|Intel)(?:\(R\))?\s+(EPYC|Xeon|Ryzen|Core|Threadripper)", description)
    return f"{known.group(1)} {known.group(2)}" if known else re.split(r"[\d@(]", description)[0].strip() or description
