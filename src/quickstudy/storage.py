"""The one door for files: what lies in a run, a session, a report or a record of a fault is read and written through here.

A run may be a stranger's. So a file is opened only where it is a regular one, no link, with a single name, and no larger than
its kind ever gets; opening it waits for nobody. Folders inside a run are folders and no links. A run's folder, which the user
names, may be a link, and so may whatever leads to it or to a file. What is written is whole or not there: new content takes the
name of the old in one step, flushed to the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any, NoReturn

from quickstudy.errors import QuickstudyError

MAX_JSON_BYTES = 16 * 2**20
MAX_LINE_BYTES = 2**20
"""Of a file that is read line by line: no row of metrics is so long."""
SMALL = 2**16
"""Bytes of a configuration, a command, a mark: whatever people or machines write there, it is less."""
LEFTOVER = re.compile(r"\..+\.(?:[0-9a-f]{16}|\d+(?:\.replaced)?)\.tmp")
"""Names of temporary files and folders; those with a process's number are of earlier versions."""


class Refused(QuickstudyError, ValueError):
    """A file that is not what quickstudy would have written there, and is neither read nor written."""


def require_folder(path: Path) -> None:
    """Raises Refused where there is something in a folder's place inside a run that is no folder, or a link to one."""
    with contextlib.suppress(FileNotFoundError):
        kind = os.lstat(path).st_mode
        if stat.S_ISLNK(kind):
            raise Refused(f"{path} is a link: a run is used only where it lies; put what it points to there")
        if not stat.S_ISDIR(kind):
            raise Refused(f"{path} is no folder")


def require_file(path: Path, found: os.stat_result) -> None:
    """Raises Refused where this is no regular file, or has another name somewhere."""
    if stat.S_ISLNK(found.st_mode):
        raise Refused(f"{path} is a link: a file is used only where it lies; put what it points to there")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is no regular file")
    if found.st_nlink > 1:
        raise Refused(f"{path} is a hard link, which has another name elsewhere; put a copy there")


def descriptor_of(path: Path, flags: int) -> int:
    """Opens a file as it lies there, or a new one; Refused where it is no regular file of one name."""
    with contextlib.suppress(FileNotFoundError):
        require_file(path, os.lstat(path))  # even opening a device may do something
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # it became a link, or a FIFO, since
            raise Refused(f"{path} is no regular file") from error
        raise
    try:
        require_file(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def opened(path: Path, most: int | None = None) -> BufferedReader:
    """A file to read; Refused where it is no regular file of one name, or has more than `most` bytes."""
    file = os.fdopen(descriptor_of(path, os.O_RDONLY), "rb")
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        raise Refused(f"{path} has {size} bytes, such a file has at most {most}")
    return file


def appended(path: Path) -> BufferedWriter:
    """A file to append to, made where there is none; Refused where it is no regular file of one name."""
    return os.fdopen(descriptor_of(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes."""
    with opened(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Refused(f"{path} grew beyond {most} bytes while it was read")
    return content


def read_text(path: Path, most: int = SMALL) -> str:
    """The text of a file of at most so many bytes."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no text: {error.reason} at byte {error.start}") from error


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines of a file in turn, from a byte on; the last may lack its end. Refused where one is no line of ours."""
    with opened(path) as file:
        file.seek(start)
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise Refused(f"{path} has a line of more than {MAX_LINE_BYTES} bytes, which no run wrote")
            yield line


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> Any:
    """Parses a small JSON file; Refused where it is too large, too deep or no JSON."""
    return parse_json(read_bytes(path, most), path)


def parse_json(content: bytes | str, path: Path) -> Any:
    """Parses JSON, of a file or a part of one, without NaN and infinity, which it does not have."""
    try:
        return json.loads(content, parse_constant=_no_constant)
    except RecursionError as error:
        raise Refused(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise Refused(f"{path} is no JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def to_json(value: Any) -> str:
    """JSON without NaN or infinity, which it does not have: they are written as null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def flush_to_disk(path: Path) -> None:
    """Returns when the file's content, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name beside a file that nobody can guess, for what is to take its place; `remove_leftovers` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def write_new(path: Path, content: str | bytes) -> None:
    """Writes a file that must not exist yet, flushed to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(descriptor)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file as one step: a reader, or a crash at any moment, sees the old content or the new."""
    with in_place_of(path) as temporary:
        write_new(temporary, content)
    flush_to_disk(path.parent)


@contextlib.contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A temporary name for what takes a file's place when the block ends; it is removed where the block fails."""
    if path.is_dir():
        raise Refused(f"{path} is a folder: name a file")
    temporary = temporary_name(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Removes what a crash has left of temporary files and folders, of one name or of all; links are left alone."""
    for path in folder.glob(f".{name}.*.tmp"):
        if not LEFTOVER.fullmatch(path.name) or path.is_symlink():
            continue
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
