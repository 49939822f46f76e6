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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from quickstudy.errors import QuickstudyError, UsageError, shorten
from quickstudy.ops.state import Ledger, Segment, Table, insert, leaves, plain_values
from quickstudy.protocol import State
from quickstudy.storage import (
    MAX_JSON_BYTES,
    SMALL,
    flush_to_disk,
    opened,
    parse_json,
    read_bytes,
    read_json,
    remove_leftovers,
    require_folder,
    sha256,
    temporary_name,
    to_json,
    write_atomically,
    write_new,
)

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


class Room(NamedTuple):
    """How many bytes a learner's files may have: more is read from no checkpoint, whatever its manifest says."""

    tensors: int
    segment: int


ANY = Room(2**33, 2**33)
"""Where nothing is known of the learner."""


def room_for(state: State) -> Room:
    """What the files of a learner may have, by its state before training: its optimisers come on top, and little else."""
    tensors = [value for _, value in leaves(state) if isinstance(value, Tensor)]
    ledgers = [getattr(value, "most_bytes", None) for _, value in leaves(state) if isinstance(value, Ledger)]
    return Room(
        2**27 + 8 * sum(value.nbytes for value in tensors),
        2**20 + max((ANY.segment if most is None else most for most in ledgers), default=0),
    )


class StoredLedger:
    """A ledger as its files hold it."""

    def __init__(self, home: Path, segments: list[Segment]):
        self.home: Path | None = home
        self._segments = segments

    def tables(self) -> Iterable[tuple[Segment, Table]]:
        """The rows of each segment in turn."""
        assert self.home is not None
        for segment in self._segments:
            yield segment, load(read_bytes(self.home / segment.name, segment.bytes))

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
            require_folder(home)
            home.mkdir(exist_ok=True)
            remove_leftovers(home)
            content = save(table)
            digest = hashlib.sha256(content).hexdigest()
            segment = Segment(f"{number:08d}-{digest[:16]}.safetensors", len(content), digest)
            write_atomically(home / segment.name, content)
            ledger.wrote(home, segment, table)
            written += segment.bytes
        needed["/".join(path)] = ledger.segments(home)
    return needed, written


def save_checkpoint(folder: Path, number: int, state: State, configuration: Mapping[str, Any] | None = None) -> Saved:
    """Writes `folder/<number>` and then points `folder/../latest.json` at it; `configuration` is what it belongs to."""
    final = folder / f"{number:08d}"
    temporary, replaced = temporary_name(final), temporary_name(final)
    require_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    segments, written = save_segments(folder, number, state)
    tensors = {"/".join(path): value.detach().cpu().contiguous() for path, value in leaves(state) if isinstance(value, Tensor)}
    contents = {"state.safetensors": save(tensors), "state.json": to_json(plain_values(state)).encode()}
    files = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in contents.items()}
    needed = {path: [segment._asdict() for segment in parts] for path, parts in segments.items()}
    manifest = {"format": FORMAT, "files": files, "segments": needed}
    manifest |= {} if configuration is None else {"configuration": configuration}
    temporary.mkdir()
    try:
        for name, content in contents.items():
            write_new(temporary / name, content)
        write_new(temporary / "manifest.json", to_json(sealed(manifest)))
        flush_to_disk(temporary)
        if final.exists():
            final.rename(replaced)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_to_disk(folder)
    write_atomically(folder.parent / "latest.json", to_json({"checkpoint": final.name}))
    remove_leftovers(folder)
    return Saved(sum(file["bytes"] for file in files.values()) + written, written)


def anything(folder: Path, configuration: Any) -> None:
    """Whatever a checkpoint says of its configuration."""


def load_checkpoint(folder: Path, room: Room = ANY, belongs: Callable[[Path, Any], None] = anything) -> dict[str, Any]:
    """Verifies and reads one checkpoint; DamagedCheckpoint names the file that is missing, cut or altered.

    `belongs` is asked about the configuration that the checkpoint was made under, None where it says none, before more is read.
    """
    try:
        for each in (folder.parent, folder):
            require_folder(each)
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] != FORMAT:
            raise DamagedCheckpoint(
                f"{folder}: format {shorten(manifest['format'])} is not {FORMAT}: written by another version of quickstudy"
            )
        if sealed(manifest) != manifest:
            raise DamagedCheckpoint(f"{folder / 'manifest.json'} was altered: its sha256 differs from what it says")
        belongs(folder, manifest.get("configuration"))
        tensors, values = (
            read_verified(folder / name, manifest["files"][name], most)
            for name, most in zip(FILES, (room.tensors, MAX_JSON_BYTES), strict=True)
        )
        state = parse_json(values, folder / "state.json")
        for path, tensor in load(tensors).items():
            # copied, since a product rounds otherwise where its memory begins at another place
            insert(state, path.split("/"), tensor.clone())
        for path, segments in manifest["segments"].items():
            held = StoredLedger(replay_of(folder.parent), list(verified(folder, segments, room.segment)))
            insert(state, path.split("/"), held)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder} can't be read: {error or type(error).__name__}") from error
    return state


def read_verified(path: Path, written: Mapping[str, Any], most: int) -> bytes:
    """A file that has the size and the checksum that a manifest says; DamagedCheckpoint where one differs."""
    require_written(path, written["bytes"], most)
    content = read_bytes(path, written["bytes"])
    if hashlib.sha256(content).hexdigest() != written["sha256"]:
        raise DamagedCheckpoint(f"{path} was altered: its sha256 differs from the manifest's")
    return content


def require_written(path: Path, size: int, most: int) -> None:
    """Raises DamagedCheckpoint where a file has another size than was written, or one that no such file has."""
    with opened(path) as file:
        found = os.fstat(file.fileno()).st_size
    if found != size:
        raise DamagedCheckpoint(f"{path} has {found} bytes, {shorten(size)} were written")
    if found > most:
        raise DamagedCheckpoint(f"{path} has {found} bytes, with this configuration it has at most {most}")


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with a checksum of its own content."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return content | {"sha256": hashlib.sha256(to_json(content).encode()).hexdigest()}


def verified(folder: Path, segments: list[dict[str, Any]], most: int) -> Iterator[Segment]:
    """The segments that a checkpoint names, each held against its size and checksum; DamagedCheckpoint where one differs."""
    require_folder(replay_of(folder.parent))
    if len({fields["name"] for fields in segments}) < len(segments):
        raise DamagedCheckpoint(f"{folder / 'manifest.json'} names a segment twice")
    for fields in segments:
        segment = Segment(**fields)
        if not SEGMENT.fullmatch(segment.name):
            raise DamagedCheckpoint(
                f"{folder / 'manifest.json'} names {shorten(segment.name)}, which is no segment of a replay"
            )
        path = replay_of(folder.parent) / segment.name
        require_written(path, segment.bytes, most)
        if sha256(path) != segment.sha256:
            raise DamagedCheckpoint(f"{path} was altered: its sha256 differs from the manifest's")
        yield segment


def load_latest(
    run: Path, room: Room = ANY, belongs: Callable[[Path, Any], None] = anything
) -> tuple[dict[str, Any], list[str]]:
    """The newest whole checkpoint of a run, and what is wrong with those after it; QuickstudyError where there is none."""
    complaints = []
    for folder in candidates(run):
        try:
            return load_checkpoint(folder, room, belongs), complaints
        except DamagedCheckpoint as damage:
            complaints.append(str(damage))
    raise QuickstudyError("; ".join([f"{run} has no checkpoint that can be read", *complaints]))


def candidates(run: Path) -> list[Path]:
    """The checkpoints of a run: the one that latest.json names, then the others from new to old."""
    require_folder(run / "checkpoints")
    folders = sorted((path for path in (run / "checkpoints").glob("*") if NAME.fullmatch(path.name)), reverse=True)
    try:
        latest = read_json(run / "latest.json", SMALL)["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return folders
    return sorted(folders, key=lambda folder: folder.name != latest)


def kept_iterations(run: Path) -> list[int]:
    """The meta-iterations of which a run still has a checkpoint."""
    return sorted(int(folder.name) for folder in candidates(run))


def kept_checkpoint(run: Path, iteration: int) -> Path:
    """The checkpoint of a meta-iteration; UsageError where none is kept."""
    kept = kept_iterations(run)
    if iteration not in kept:
        raise UsageError(f"{run} keeps no checkpoint of meta-iteration {iteration}; it has those of {shorten(str(kept))}")
    return run / "checkpoints" / f"{iteration:08d}"


def prune(folder: Path, keep: int, best: int = 0) -> None:
    """Removes all but the newest `keep` checkpoints and the one of `best`, and the segments that none of those needs."""
    named = sorted(path for path in folder.glob("*") if NAME.fullmatch(path.name) and is_own(path, Path.is_dir))
    for old in named[:-keep]:
        if int(old.name) != best:
            shutil.rmtree(old)
    home = replay_of(folder)
    if is_own(home, Path.is_dir):
        needed = {name for checkpoint in folder.glob("*") for name in named_segments(checkpoint)}
        for segment in home.iterdir():
            if segment.name not in needed and SEGMENT.fullmatch(segment.name) and is_own(segment, Path.is_file):
                segment.unlink()


def is_own(path: Path, kind: Callable[[Path], bool]) -> bool:
    """Whether a path is a folder, or a file, and no link to one."""
    return kind(path) and not path.is_symlink()


def named_segments(checkpoint: Path) -> set[str]:
    """The segments that a checkpoint needs; none where its manifest can't be read."""
    try:
        segments = read_json(checkpoint / "manifest.json")["segments"]
        return {segment["name"] for parts in segments.values() for segment in parts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
