"""Optional parts: each needs a package that one of the extras of `pyproject.toml` installs."""


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
