"""What `make release-check` finds in a wheel: files of others, data, damaged weights, and a RECORD that is not true."""

import base64
import hashlib
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from release import contents
from release.contents import check_sdist, check_wheel, differences

ROOT = Path(__file__).parents[2]
ABOUT = "quickstudy-1.0.0.dist-info"
STATE = json.dumps({"format": 1, "learner": {"class": "CNP"}}).encode()
TENSORS = safetensors.torch.save({"w": torch.zeros(3)})
GOOD = {
    "quickstudy/__init__.py": b'"""A package."""\n',
    "quickstudy/py.typed": b"",
    "quickstudy/report/references.bib": b"@book{a, note = {Copyright 1990}}\n",
    "quickstudy/page/static/page.css": b"body {}\n",
    "quickstudy/weights/cnp/model.safetensors": TENSORS,
    "quickstudy/weights/cnp/state.json": STATE,
    **{f"{ABOUT}/{name}": b"x\n" for name in ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE")},
}


def wheel(folder: Path, changes: dict[str, bytes | None], record: str = "") -> Path:
    """A wheel of good files with changes (None leaves a file out), and more lines of its RECORD."""
    files = {name: content for name, content in (GOOD | changes).items() if content is not None}
    lines = [f"{ABOUT}/RECORD,,"]
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    path = folder / "quickstudy-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.writestr(f"{ABOUT}/RECORD", "\n".join(lines) + "\n" + record)
    return path


def test_our_own_files_are_allowed(tmp_path: Path) -> None:
    assert check_wheel(wheel(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("quickstudy/tasks/sleepstudy.csv", b"a,b\n", "of a kind that is not allowed there"),
        ("quickstudy/tasks/digits.npz", b"PK", "of a kind that is not allowed there"),
        ("quickstudy/weights/cnp/model.pt", b"PK", "of a kind that is not allowed there"),
        ("quickstudy/weights/cnp/notes.json", b"{}", "of a kind that is not allowed there"),
        ("quickstudy/tasks/face.png", b"\x89PNG", "of a kind that is not allowed there"),
        ("quickstudy/page.css", b"body {}", "of a kind that is not allowed there"),
        ("quickstudy/tasks/table.bib", b"", "of a kind that is not allowed there"),
        ("tests/test_data.py", b"", "lies outside the package"),
        ("runs/demo/result.json", b"{}", "lies outside the package"),
        ("quickstudy/rows.py", b"ROWS = [" + b"1.5,\n" * 600 + b"]\n", "holds 600 numbers: is it data?"),
        ("quickstudy/blob.py", b"B = '" + b"a" * 700 + b"'\n", "a line of 706 characters: is it data?"),
        ("quickstudy/page/static/chart.js", b"var a=1;" * 100 + b"\n", "a line of 800 characters"),
        ("quickstudy/numbers.py", b"# Copyright 2019 Somebody\n", "speaks of a licence or a copyright"),
        ("quickstudy/page/static/d.js", b"/* @license MIT */\n", "speaks of a licence or a copyright"),
        ("quickstudy/odd.py", b"\xff\xfe", "is not text"),
        ("quickstudy/weights/cnp/model.safetensors", TENSORS + b"more", "holds more than its tensors"),
        ("quickstudy/weights/cnp/model.safetensors", b"\x80\x04K\x01.", "is no safetensors file"),
        ("quickstudy/weights/cnp/state.json", b'{"rows": [1, 2]}', "is no description of a learner"),
        ("quickstudy/weights/cnp/state.json", None, "weights/cnp lacks state.json"),
        (f"{ABOUT}/licenses/LICENSE", None, "the wheel lacks quickstudy-1.0.0.dist-info/licenses/LICENSE"),
        ("quickstudy/py.typed", None, "the wheel lacks quickstudy/py.typed"),
    ],
)
def test_what_does_not_belong_is_named(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    [fault] = check_wheel(wheel(tmp_path, {name: content}))
    assert said in fault and (content is None or fault.startswith(name))


def test_an_asset_is_allowed_once_its_licence_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {"quickstudy/page/static/face.png": b"\x89PNG"})
    assert len(check_wheel(path)) == 1
    monkeypatch.setitem(contents.ASSETS, "quickstudy/page/static/face.png", "CC0, drawn by the authors")
    assert check_wheel(path) == []


def test_a_large_wheel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {})
    monkeypatch.setattr(contents, "MOST_BYTES", path.stat().st_size - 1)
    assert check_wheel(path) == [f"{path.name} has {path.stat().st_size:,} bytes"]


def test_a_record_that_is_not_true_is_found(tmp_path: Path) -> None:
    [fault] = check_wheel(wheel(tmp_path, {}, record="quickstudy/gone.py,sha256=x,1\n"))
    assert "lists quickstudy/gone.py, which is not there" in fault
    [fault] = check_wheel(wheel(tmp_path, {}, record="quickstudy/py.typed,sha256=x,0\n"))
    assert "has another digest of quickstudy/py.typed" in fault


def test_an_sdist_holds_what_builds_the_wheel(tmp_path: Path) -> None:
    path = tmp_path / "quickstudy-1.0.0.tar.gz"
    for names, wanted in ((["src/a.py", "LICENSE"], []), (["runs/r.json"], ["the sdist holds runs"])):
        with tarfile.open(path, "w:gz") as made:
            for name in names:
                made.addfile(tarfile.TarInfo(f"quickstudy-1.0.0/{name}"))
        assert check_sdist(path) == wanted
    with tarfile.open(path, "w:gz") as made:
        link = tarfile.TarInfo("quickstudy-1.0.0/LICENSE")
        link.type, link.linkname = tarfile.SYMTYPE, "../secret"
        made.addfile(link)
    assert check_sdist(path) == ["quickstudy-1.0.0/LICENSE is a link or a device"]


def test_wheels_that_differ_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (
        wheel(tmp_path / "a", {}),
        wheel(tmp_path / "b", {"quickstudy/__init__.py": b"", "quickstudy/n.py": b""}),
    )
    assert differences(one, one) == []
    assert [fault.split()[-1] for fault in differences(one, other)] == [
        f"{ABOUT}/RECORD",
        "quickstudy/__init__.py",
        "quickstudy/n.py",
    ]


def test_the_sources_hold_nothing_that_the_wheel_may_not() -> None:
    """Without building: what is found on the way to a release is found here, too."""
    package = ROOT / "src/quickstudy"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 600
    names = {f"quickstudy/{path.relative_to(package)}": path.read_bytes() for path in files}
    assert [fault for name, content in names.items() for fault in contents.check_file(name, content)] == []
    assert sum(path.stat().st_size for path in files) < 2 * contents.MOST_BYTES
