"""Checkpoints: a state as a folder of safetensors and JSON, with a checksum for each file and the manifest written last.

Loading one runs no code. A folder gets its name only when all of it is on the disk, so a crash leaves no half of one.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from quickstudy.errors import QuickstudyError
from quickstudy.ops.state import insert, leaves, plain_values
from quickstudy.protocol import State
from quickstudy.storage import flush_to_disk, read_json, sha256, to_json, write_atomically

FORMAT = 1
FILES = ("state.safetensors", "state.json")
NAME = re.compile(r"\d{8}")


class DamagedCheckpoint(QuickstudyError):
    """A checkpoint that is not what was written."""


def save_checkpoint(folder: Path, number: int, state: State) -> None:
    """Writes `folder/<number>` and then points `folder/../latest.json` at it."""
    name = f"{number:08d}"
    final, temporary = folder / name, folder / f".{name}.{os.getpid()}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary.mkdir()
    tensors = {"/".join(path): value.detach().cpu().contiguous() for path, value in leaves(state) if isinstance(value, Tensor)}
    (temporary / "state.safetensors").write_bytes(save(tensors))
    (temporary / "state.json").write_text(to_json(plain_values(state)))
    for file in FILES:
        flush_to_disk(temporary / file)
    files = {file: {"bytes": (temporary / file).stat().st_size, "sha256": sha256(temporary / file)} for file in FILES}
    write_atomically(temporary / "manifest.json", to_json({"format": FORMAT, "files": files}))
    if final.exists():
        final.rename(folder / f".{name}.{os.getpid()}.replaced.tmp")
    temporary.rename(final)
    flush_to_disk(folder)
    write_atomically(folder.parent / "latest.json", to_json({"checkpoint": name}))
    remove_leftovers(folder)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Verifies and reads one checkpoint; DamagedCheckpoint names the file that is missing, cut or altered."""
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] != FORMAT:
            raise DamagedCheckpoint(
                f"{folder}: format {manifest['format']!r} is not {FORMAT}: written by another version of quickstudy"
            )
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder} can't be read: {error or type(error).__name__}") from error
    return state


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
    """Removes all but the newest `keep` checkpoints."""
    for old in sorted(path for path in folder.glob("*") if NAME.fullmatch(path.name))[:-keep]:
        shutil.rmtree(old)


def remove_leftovers(folder: Path) -> None:
    """Removes what a crash in the middle of a save has left."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover)
