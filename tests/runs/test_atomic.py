"""Replacing a folder or a file: at every moment there is a complete one."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quickstudy.runs import atomic
from quickstudy.runs.atomic import newest, settle, write_file, write_folder

MOVES = [  # which folders exist after each move of a replacement of A by B
    ({"last": "A", "last.quickstudy-tmp": "half"}, "A"),
    ({"last": "A", "last.quickstudy-new": "B"}, "B"),
    ({"last.quickstudy-old": "A", "last.quickstudy-new": "B"}, "B"),
    ({"last.quickstudy-old": "A", "last": "B"}, "B"),
    ({"last.quickstudy-tmp": "half"}, None),
    ({"last.quickstudy-new": "B"}, "B"),
    ({"last.quickstudy-old": "A"}, "A"),
]


def lay(root: Path, folders: dict[str, str]) -> None:
    for name, content in folders.items():
        (root / name).mkdir()
        (root / name / "file").write_text(content)


@pytest.mark.parametrize(("folders", "content"), MOVES)
def test_a_reader_finds_the_newest_complete_folder_and_changes_nothing(
    tmp_path: Path, folders: dict[str, str], content: str | None
) -> None:
    lay(tmp_path, folders)
    place = newest(tmp_path / "last")
    assert (None if place is None else (place / "file").read_text()) == content
    assert {p.name for p in tmp_path.iterdir()} == set(folders)


@pytest.mark.parametrize(("folders", "content"), MOVES)
def test_settling_leaves_that_one_alone_there(tmp_path: Path, folders: dict[str, str], content: str | None) -> None:
    lay(tmp_path, folders)
    settle(tmp_path / "last")
    assert {p.name for p in tmp_path.iterdir()} == ({"last"} if content else set())
    if content:
        assert (tmp_path / "last" / "file").read_text() == content


@pytest.mark.parametrize(("folders", "content"), MOVES)
def test_writing_over_any_of_them(tmp_path: Path, folders: dict[str, str], content: str | None) -> None:
    lay(tmp_path, folders)
    write_folder(tmp_path / "last", {"file": b"C", "other": b"D"})
    assert {p.name for p in tmp_path.iterdir()} == {"last"}
    assert (tmp_path / "last" / "file").read_text() == "C"
    assert content != "C"


def failing(original: Callable[..., None], at: int, code: int) -> Callable[..., None]:
    calls = 0

    def function(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(code, os.strerror(code))
        original(*arguments)

    return function


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, code: int) -> None:
    write_folder(tmp_path / "last", {"file": b"A"})
    monkeypatch.setattr(atomic.os, "fsync", failing(os.fsync, at, code))
    with pytest.raises(OSError, match=r"cannot write .*last: .*; .*intact") as caught:
        write_folder(tmp_path / "last", {"file": b"B", "other": b"B"})
    assert caught.value.errno == code
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"last"}
    assert (tmp_path / "last" / "file").read_text() == "A"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_failed_rename_leaves_a_complete_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    write_folder(tmp_path / "last", {"file": b"A"})
    monkeypatch.setattr(atomic.os, "rename", failing(os.rename, at, errno.EIO))
    with pytest.raises(OSError, match="check the disk"):
        write_folder(tmp_path / "last", {"file": b"B"})
    place = newest(tmp_path / "last")
    assert place is not None
    assert (place / "file").read_text() == ("A" if at == 1 else "B")


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_file(path, b"A")
    monkeypatch.setattr(atomic.os, "fsync", failing(os.fsync, 1, errno.ENOSPC))
    with pytest.raises(OSError, match="free some space"):
        write_file(path, b"B")
    assert path.read_bytes() == b"A"
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    write_file(path, b"C")
    assert path.read_bytes() == b"C"


def test_a_system_that_opens_no_folders_writes_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows, where `os.open` of a folder is a PermissionError, and O_DIRECTORY does not exist."""
    real = os.open

    def open_file(path: Path, *rest: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.delattr(os, "O_DIRECTORY")
    write_file(tmp_path / "file", b"content")
    for content in (b"A", b"B"):
        write_folder(tmp_path / "last", {"file": content})
    assert (tmp_path / "file").read_bytes() == b"content" and (tmp_path / "last" / "file").read_bytes() == b"B"
