"""The one door for files: what is no regular file of one name is refused, what is written is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quickstudy import storage
from quickstudy.storage import Refused


def hard(path: Path) -> None:
    path.with_name("other").write_text("{}")
    os.link(path.with_name("other"), path)


def linked(path: Path) -> None:
    path.with_name("other").write_text("{}")
    path.symlink_to(path.with_name("other"))


def fifo(path: Path) -> None:
    os.mkfifo(path)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (linked, "is a link"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "is a link"),
    "a hard link": (hard, "is a hard link"),
    "a FIFO": (fifo, "is no regular file"),
    "a folder": (lambda path: path.mkdir(), "is no regular file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "is a link"),
}
DOORS: dict[str, Callable[[Path], object]] = {
    "read_text": lambda path: storage.read_text(path, 100),
    "read_bytes": lambda path: storage.read_bytes(path, 100),
    "read_json": storage.read_json,
    "read_lines": lambda path: list(storage.read_lines(path)),
    "sha256": storage.sha256,
    "appended": storage.appended,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_file_of_its_own_is_neither_read_nor_written(kind: str, door: str, tmp_path: Path):
    (make, says), path = KINDS[kind], tmp_path / "file.json"
    make(path)
    with pytest.raises(Refused, match=says) as refusal:
        DOORS[door](path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("make", [linked, hard, fifo], ids=lambda make: make.__name__)
def test_writing_takes_the_place_of_a_link_and_leaves_what_it_led_to(make: Callable[[Path], None], tmp_path: Path):
    path = tmp_path / "file.json"
    make(path)
    storage.write_atomically(path, "new")
    assert path.read_text() == "new" and not path.is_symlink()
    assert make is fifo or path.with_name("other").read_text() == "{}"


def test_folders_above_may_be_links(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    storage.write_atomically(tmp_path / "home" / "file.json", "{}")
    assert storage.read_json(tmp_path / "home" / "file.json") == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"[" * 100_000, "nested too deeply"), (b"1" * 5000, "is no JSON"), (b"[NaN]", "is no JSON"), (b"\xff", "is no JSON")],
)
def test_json_that_is_none_is_refused_in_one_line(content: bytes, says: str, tmp_path: Path):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(Refused, match=says) as refusal:
        storage.read_json(tmp_path / "file.json")
    assert "\n" not in str(refusal.value)


def test_what_is_too_large_is_not_read(tmp_path: Path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(10 * 2**30)
    for read in (storage.read_json, lambda path: storage.read_text(path, 10), lambda path: list(storage.read_lines(path))):
        with pytest.raises(Refused, match="bytes"):
            read(tmp_path / "file")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(storage.Refused, match="is a folder: name a file"):
        storage.write_atomically(tmp_path, "new")

    def fails(path: Path, target: Path) -> None:
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="full"):
        storage.write_atomically(tmp_path / "file", "new")
    assert not list(tmp_path.iterdir())


def test_temporary_names_cannot_be_guessed_and_must_be_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    assert storage.temporary_name(path) != storage.temporary_name(path)
    known = storage.temporary_name(path)
    monkeypatch.setattr(storage, "temporary_name", lambda path: known)
    (tmp_path / "victim").write_text("precious")
    known.symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        storage.write_atomically(path, "new")
    assert (tmp_path / "victim").read_text() == "precious"


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path):
    token = "0123456789abcdef"
    kept = ["file", f".file.{token}", f"file.{token}.tmp", ".file.xyz.tmp", f".link.{token}.tmp", "..tmp"]
    for name in [*kept, f".file.{token}.tmp", ".file.1234.tmp", ".file.1234.replaced.tmp"]:
        (tmp_path / name).symlink_to("file") if "link" in name else (tmp_path / name).touch()
    (tmp_path / f".folder.{token}.tmp").mkdir()
    (tmp_path / f".folder.{token}.tmp" / "within").touch()
    storage.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
