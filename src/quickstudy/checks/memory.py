"""The memory that is free on this computer, and the check that a computation fits into it."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes that can be used without swapping; None where the system does not say it in `/proc/meminfo`."""
    try:
        lines = _MEMINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def check_memory(needed: int, what: str, advice: str) -> None:
    """Raise ValueError if a computation needs more bytes than are free, before it begins.

    Args:
        needed: bytes that it needs.
        what: the computation, with its size, as the subject of the sentence.
        advice: what to do.

    >>> check_memory(1000, "a list of 100 numbers", "use a shorter list")
    """
    free = free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"{what} would need {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {advice}"
        )
