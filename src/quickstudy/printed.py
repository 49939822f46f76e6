"""What is printed: plain text, whatever it tells of. Names, paths and messages may come from a stranger's files."""

from __future__ import annotations

import sys
import unicodedata


def printable(text: str) -> str:
    """Text in which whatever is no letter, mark, number, sign or space is escaped, line breaks too: it moves no cursor."""
    return "".join(letter if shows(letter) else letter.encode("unicode_escape").decode() for letter in text)


def shows(letter: str) -> bool:
    """Whether a terminal shows a character and does nothing else; spaces of every script are shown."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def say(text: str) -> None:
    """One line on stderr: notes, warnings, errors."""
    print(printable(text), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Lines on stdout: what a command was asked for. Its line breaks are the caller's own."""
    print("\n".join(map(printable, text.split("\n"))), flush=True)
