"""Checkpoints: a state as a folder of safetensors and JSON, with a checksum for each file and the manifest written last.

Loading one runs no code. A folder gets its name only when all of it is on the disk, so a crash leaves no half of one.
What a state holds as a ledger, such as a replay, lies beside the checkpoints in `replay/`, in segments that several of them
share: a save writes what is new, and the manifest names all that it needs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from quickstudy.errors import QuickstudyError
from quickstudy.ops.state import Ledger, Segment, Table, insert, leaves, plain_values
from quickstudy.protocol import State
from quickstudy.storage import flush_to_disk, read_json, sha256, to_json, write_atomically

FORMAT = 2
FILES = ("state.safetensors", "state.json")
NAME = re.compile(r"\d{8}")
SEGMENT = re.compile(r"\d{8}-[0-9a-f]{16}\.safetensors")


class DamagedCheckpoint(QuickstudyError):
    """A checkpoint that is not what was written."""


class Saved(NamedTuple):
    """What a save wrote."""

    bytes: int
    """All that was written, segments included."""
    replay_bytes: int
    """The new segments alone."""


class StoredLedger:
    """A ledger as its files hold it."""

    def __init__(self, home: Path, segments: list[Segment]):
        self.home: Path | None = home
        self._segments = segments

    def tables(self) -> Iterable[tuple[Segment, Table]]:
        """The rows of each segment in turn."""
        assert self.home is not None
        for segment in self._segments:
            yield segment, load_file(self.home / segment.name)

    def segments(self, home: Path) -> list[Segment]:
        return self._segments if home == self.home else []

    def unwritten(self, home: Path) -> Table:
        return {}

    def wrote(self, home: Path, segment: Segment, table: Table) -> None:
        self._segments.append(segment)


def replay_of(folder: Path) -> Path:
    """Where the segments of the checkpoints in a folder lie."""
    return (folder.parent / "replay").absolute()


def save_segments(folder: Path, number: int, state: State) -> tuple[dict[str, list[Segment]], int]:
    """Writes what is new in each ledger of a state; returns the segments that each needs, and how many bytes were new."""
    home, needed, written = replay_of(folder), {}, 0
    for path, ledger in leaves(state):
        if not isinstance(ledger, Ledger):
            continue
        table = ledger.unwritten(home)
        if table:
            home.mkdir(exist_ok=True)
            content = save(table)
            digest = hashlib.sha256(content).hexdigest()
            segment = Segment(f"{number:08d}-{digest[:16]}.safetensors", len(content), digest)
            write_atomically(home / segment.name, content)
            ledger.wrote(home, segment, table)
            written += segment.bytes
        needed["/".join(path)] = ledger.segments(home)
    return needed, written


def save_checkpoint(folder: Path, number: int, state: State) -> Saved:
    """Writes `folder/<number>` and then points `folder/../latest.json` at it."""
    name = f"{number:08d}"
    final, temporary = folder / name, folder / f".{name}.{os.getpid()}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    segments, written = save_segments(folder, number, state)
    temporary.mkdir()
    tensors = {"/".join(path): value.detach().cpu().contiguous() for path, value in leaves(state) if isinstance(value, Tensor)}
    (temporary / "state.safetensors").write_bytes(save(tensors))
    (temporary / "state.json").write_text(to_json(plain_values(state)))
    for file in FILES:
        flush_to_disk(temporary / file)
    files = {file: {"bytes": (temporary / file).stat().st_size, "sha256": sha256(temporary / file)} for file in FILES}
    needed = {path: [segment._asdict() for segment in parts] for path, parts in segments.items()}
    write_atomically(temporary / "manifest.json", to_json(sealed({"format": FORMAT, "files": files, "segments": needed})))
    if final.exists():
        final.rename(folder / f".{name}.{os.getpid()}.replaced.tmp")
    temporary.rename(final)
    flush_to_disk(folder)
    write_atomically(folder.parent / "latest.json", to_json({"checkpoint": name}))
    remove_leftovers(folder)
    return Saved(sum(file["bytes"] for file in files.values()) + written, written)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Verifies and reads one checkpoint; DamagedCheckpoint names the file that is missing, cut or altered."""
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] != FORMAT:
            raise DamagedCheckpoint(
                f"{folder}: format {manifest['format']!r} is not {FORMAT}: written by another version of quickstudy"
            )
        if sealed(manifest) != manifest:
            raise DamagedCheckpoint(f"{folder / 'manifest.json'} was altered: its sha256 differs from what it says")
        for file in FILES:
            written = manifest["files"][file]
            size = (folder / file).stat().st_size
            if size != written["bytes"]:
                raise DamagedCheckpoint(f"{folder / file} has {size} bytes, {written['bytes']} were written")
            if sha256(folder / file) != written["sha256"]:
                raise DamagedCheckpoint(f"{folder / file} was altered: its sha256 differs from the manifest's")
        state = read_json(folder / "state.json")
        for path, tensor in load_file(folder / "state.safetensors").items():
            # copied, since a product rounds otherwise where its memory begins at another place
            insert(state, path.split("/"), tensor.clone())
        for path, segments in manifest["segments"].items():
            insert(state, path.split("/"), StoredLedger(replay_of(folder.parent), list(verified(folder, segments))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder} can't be read: {error or type(error).__name__}") from error
    return state


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with a checksum of its own content."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return content | {"sha256": hashlib.sha256(to_json(content).encode()).hexdigest()}


def verified(folder: Path, segments: list[dict[str, Any]]) -> Iterator[Segment]:
    """The segments that a checkpoint names, each held against its size and checksum; DamagedCheckpoint where one differs."""
    for fields in segments:
        segment = Segment(**fields)
        if not SEGMENT.fullmatch(segment.name):
            raise DamagedCheckpoint(f"{folder / 'manifest.json'} names {segment.name!r}, which is no segment of a replay")
        path = replay_of(folder.parent) / segment.name
        if path.stat().st_size != segment.bytes:
            raise DamagedCheckpoint(f"{path} has {path.stat().st_size} bytes, {segment.bytes} were written")
        if sha256(path) != segment.sha256:
            raise DamagedCheckpoint(f"{path} was altered: its sha256 differs from the manifest's")
        yield segment


def load_latest(run: Path) -> tuple[dict[str, Any], list[str]]:
    """The newest whole checkpoint of a run, and what is wrong with those after it; QuickstudyError where there is none."""
    complaints = []
    for folder in candidates(run):
        try:
            return load_checkpoint(folder), complaints
        except DamagedCheckpoint as damage:
            complaints.append(str(damage))
    raise QuickstudyError("; ".join([f"{run} has no checkpoint that can be read", *complaints]))


def candidates(run: Path) -> list[Path]:
    """The checkpoints of a run: the one that latest.json names, then the others from new to old."""
    folders = sorted((path for path in (run / "checkpoints").glob("*") if NAME.fullmatch(path.name)), reverse=True)
    try:
        latest = read_json(run / "latest.json")["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return folders
    return sorted(folders, key=lambda folder: folder.name != latest)


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and the segments that none of those needs."""
    for old in sorted(path for path in folder.glob("*") if NAME.fullmatch(path.name))[:-keep]:
        shutil.rmtree(old)
    home = replay_of(folder)
    if home.exists():
        needed = {name for checkpoint in folder.glob("*") for name in named_segments(checkpoint)}
        for segment in home.iterdir():
            if segment.name not in needed:
                segment.unlink()


def named_segments(checkpoint: Path) -> set[str]:
    """The segments that a checkpoint needs; none where its manifest can't be read."""
    try:
        segments = read_json(checkpoint / "manifest.json")["segments"]
        return {segment["name"] for parts in segments.values() for segment in parts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def remove_leftovers(folder: Path) -> None:
    """Removes what a crash in the middle of a save has left."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover)
