"""Files that are either whole or not there: atomic writes, flushed to the disk, and checksums."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 16 * 2**20


def flush_to_disk(path: Path) -> None:
    """Returns when the file's content, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file as one step: a reader, or a crash at any moment, sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    flush_to_disk(temporary)
    temporary.replace(path)
    flush_to_disk(path.parent)


def to_json(value: Any) -> str:
    """JSON without NaN or infinity, which it does not have: they are written as null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def read_json(path: Path) -> Any:
    """Parses a small JSON file; ValueError where it is too large, too deep or no JSON."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_JSON_BYTES} bytes")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def read_text(path: Path, most: int) -> str:
    """The text of a small file; ValueError where it is longer than `most` bytes, or no text."""
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most} bytes")
    return path.read_text(encoding="utf-8")


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
