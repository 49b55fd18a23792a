"""What a wheel and an sdist may hold: our own code, our own trained weights, and assets whose licence is listed."""

import ast
import base64
import csv
import hashlib
import io
import json
import re
import struct
import tarfile
import zipfile
from pathlib import Path

MOST_BYTES = 12_000_000
# Data in the guise of code, and minified code of others, have longer lines, more numbers or more bytes than these.
LONGEST_LINE = 500
LARGEST_SOURCE = 100_000
MOST_NUMBERS = 500

OWN = {  # kind of file: the folders of the package in which it may lie
    ".py": r".*",
    ".typed": r"",
    ".bib": r"report/",
    ".mplstyle": r"report/static/",
    ".css": r"[a-z_/]+/(static|page)/([a-z_]+/)*",
    ".js": r"[a-z_/]+/(static|page)/([a-z_]+/)*",
    ".html": r"[a-z_/]+/(static|page)/([a-z_]+/)*",
    ".svg": r"[a-z_/]+/(static|page)/([a-z_]+/)*",
}
ASSETS: dict[str, str] = {}
"""Files made by others: path in the wheel, licence and source. Whoever adds one says here who made it."""
WEIGHTS = {"model.safetensors", "state.json"}  # a folder of weights holds both, and nothing else
SDIST = {"src", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "PKG-INFO", ".gitignore"}


def check_wheel(path: Path) -> list[str]:
    """What is wrong with the contents of a wheel, a sentence for each fault."""
    with zipfile.ZipFile(path) as wheel:
        files = {info.filename: wheel.read(info) for info in wheel.infolist() if not info.is_dir()}
    faults = [] if path.stat().st_size <= MOST_BYTES else [f"{path.name} has {path.stat().st_size:,} bytes"]
    [about] = {name.split("/")[0] for name in files if name.split("/")[0].endswith(".dist-info")} or {""}
    known = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD")}
    faults += [f"the wheel lacks {name}" for name in sorted({*known, "quickstudy/py.typed"} - set(files))]
    for name, content in sorted(files.items()):
        if name not in known:
            faults += check_file(name, content)
    faults += check_weights(set(files))
    return faults + check_record(files, f"{about}/RECORD")


def check_file(name: str, content: bytes) -> list[str]:
    """What is wrong with a file of the package: its place, its kind, or data in the guise of code."""
    path = Path(name)
    if name in ASSETS:
        return []
    if path.parts[0] != "quickstudy":
        return [f"{name} lies outside the package"]
    if path.name in WEIGHTS and "weights" in path.parts[:-1]:
        return check_tensors(name, content) if path.suffix == ".safetensors" else check_json(name, content)
    folder = name.removeprefix("quickstudy/").removesuffix(path.name)
    if path.suffix not in OWN or not re.fullmatch(OWN[path.suffix], folder):
        return [f"{name} is of a kind that is not allowed there; if it is an asset, list its licence in ASSETS"]
    return check_source(name, content)


def check_source(name: str, content: bytes) -> list[str]:
    """Faults of a text file: it is no text, it holds data, or somebody else wrote it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return [f"{name} is not text"]
    faults = []
    longest = max(map(len, text.splitlines()), default=0)
    if longest > LONGEST_LINE or len(content) > LARGEST_SOURCE:
        faults.append(f"{name} has {len(content):,} bytes and a line of {longest:,} characters: is it data?")
    if numbers_in(name, text) > MOST_NUMBERS:
        faults.append(f"{name} holds {numbers_in(name, text):,} numbers: is it data?")
    if not name.endswith(".bib") and re.search(r"(?i)copyright|SPDX-License|licensed under|@license", text):
        faults.append(f"{name} speaks of a licence or a copyright: who wrote it?")
    return faults


def numbers_in(name: str, text: str) -> int:
    """How many numbers a file writes out: of Python, its constants; of JavaScript, all that looks like a number."""
    if name.endswith(".py"):
        constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        return sum(isinstance(value, int | float) and not isinstance(value, bool) for value in constants)
    return len(re.findall(r"\b\d+(?:\.\d+)?\b", text)) if name.endswith(".js") else 0


def check_json(name: str, content: bytes) -> list[str]:
    """Faults of the description of a learner: `quickstudy.save` writes its format, and the class that it describes."""
    try:
        found = json.loads(content)
        described = isinstance(found["format"], int) and bool(found["learner"]["class"])
    except (ValueError, KeyError, TypeError):
        described = False
    return [] if described else [f"{name} is no description of a learner that quickstudy.save wrote"]


def check_tensors(name: str, content: bytes) -> list[str]:
    """Faults of a file of weights: it is no safetensors file, or holds something beyond its tensors."""
    try:
        [length] = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        end = max(entry["data_offsets"][1] for entry in header.values())
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return [f"{name} is no safetensors file"]
    return [] if 8 + length + end == len(content) else [f"{name} holds more than its tensors"]


def check_weights(names: set[str]) -> list[str]:
    """Folders of weights that lack one of their two files."""
    found: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if file in WEIGHTS:
            found.setdefault(folder, set()).add(file)
    return [
        f"{folder} lacks {', '.join(WEIGHTS - files)}" for folder, files in sorted(found.items()) if files != WEIGHTS
    ]


def check_record(files: dict[str, bytes], record: str) -> list[str]:
    """Files that RECORD does not list with their digest, and entries without a file."""
    rows = {row[0]: row[1] for row in csv.reader(io.StringIO(files.get(record, b"").decode())) if row}
    faults = [f"{record} does not list {name}" for name in sorted(set(files) - set(rows))]
    faults += [f"{record} lists {name}, which is not there" for name in sorted(set(rows) - set(files))]
    for name in sorted(set(files) & set(rows) - {record}):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        if rows[name] != f"sha256={digest}":
            faults.append(f"{record} has another digest of {name}")
    return faults


def check_sdist(path: Path) -> list[str]:
    """What is wrong with the contents of an sdist: entries besides the package and the files that describe it."""
    with tarfile.open(path) as sdist:
        members = sdist.getmembers()
    faults = [f"{m.name} is a link or a device" for m in members if not (m.isfile() or m.isdir())]
    top = {m.name.split("/")[1] for m in members if "/" in m.name}
    return faults + [f"the sdist holds {name}" for name in sorted(top - SDIST)]


def differences(one: Path, other: Path) -> list[str]:
    """In which files two wheels differ."""
    contents = []
    for path in (one, other):
        with zipfile.ZipFile(path) as wheel:
            contents.append({name: wheel.read(name) for name in wheel.namelist()})
    names = sorted(set(contents[0]) | set(contents[1]))
    return [
        f"the wheel of the sdist differs in {name}" for name in names if contents[0].get(name) != contents[1].get(name)
    ]
