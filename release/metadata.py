"""What the metadata of a wheel say, compared with pyproject.toml and with what package indexes ask for."""

import re
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

PYTHONS = ("3.11", "3.12", "3.13")


def read_metadata(wheel: Path) -> Message:
    """The file METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        [name] = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(files.read(name))


def check_metadata(found: Message, project: dict[str, Any]) -> list[str]:
    """What is wrong with the metadata, a sentence for each fault; `project` is that table of pyproject.toml."""
    faults = []
    for name, wanted in {
        "Name": project["name"],
        "License-Expression": project["license"],
        "Requires-Python": project["requires-python"],
        "Description-Content-Type": "text/markdown",
        "Metadata-Version": "2.4",
    }.items():
        if found[name] != wanted:
            faults.append(f"{name} is {found[name]!r}; expected {wanted!r}")
    if found.get_all("License-File") != ["LICENSE"]:
        faults.append(f"License-File is {found.get_all('License-File')}; expected LICENSE")
    classifiers = found.get_all("Classifier") or []
    faults += [f"{line}: with a licence expression, indexes refuse it" for line in classifiers if "License ::" in line]
    for python in PYTHONS:
        if f"Programming Language :: Python :: {python}" not in classifiers:
            faults.append(f"no classifier says that Python {python} is supported")
    return faults + check_requirements(
        found.get_all("Requires-Dist") or [], found.get_all("Provides-Extra") or [], project
    )


def check_requirements(needs: list[str], extras: list[str], project: dict[str, Any]) -> list[str]:
    """Requirements with an upper bound, which force others' environments apart, and extras that install nothing."""
    faults = [f"{need} has an upper bound" for need in needs if re.search(r"<|==|~=", need.split(";")[0])]
    faults += [f"{need} is no release of an index" for need in needs if "@" in need]
    if set(extras) != set(project["optional-dependencies"]):
        faults.append(f"the extras are {', '.join(extras)}; expected those of pyproject.toml")
    empty = [extra for extra in extras if not any(re.search(rf"extra == .{extra}.", need) for need in needs)]
    return faults + [f"the extra {extra} installs nothing" for extra in empty]


def read_project(root: Path) -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return found


def lowest(project: dict[str, Any]) -> list[str]:
    """The oldest versions of what is always needed, as constraints.

    >>> lowest({"dependencies": ["torch>=2.6", "numpy>=1.26"]})
    ['torch==2.6', 'numpy==1.26']
    """
    return [need.replace(">=", "==") for need in project["dependencies"]]
