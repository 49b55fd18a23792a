"""Optional parts: each needs a package that one of the extras of `pyproject.toml` installs."""

import sys
from importlib.util import find_spec


def missing_package(package: str, extra: str, reason: str) -> ModuleNotFoundError:
    """The error of an optional part whose package is not installed: one line, which names the extra.

    The extra is in double quotes, which every shell understands; Windows' own takes single quotes for letters.

    Args:
        package: name of the package, as it is imported.
        extra: the extra that installs it.
        reason: what needs the package.

    >>> print(missing_package("pandas", "pandas", "frame() needs pandas"))
    frame() needs pandas, which is not installed; install it: pip install "quickstudy[pandas]"
    """
    return ModuleNotFoundError(
        f'{reason}, which is not installed; install it: pip install "quickstudy[{extra}]"', name=package
    )


def require_package(package: str, extra: str, reason: str) -> None:
    """Raise `missing_package(...)` if the package is not installed. It is not imported."""
    if sys.modules.get(package) is None and find_spec(package) is None:
        raise missing_package(package, extra, reason)
