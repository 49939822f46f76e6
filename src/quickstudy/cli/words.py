"""Words of the command line: how they are read, and one line for each mistake in them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import math
import re
import typing
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union

from quickstudy.errors import UsageError, shorten
from quickstudy.index import spelled
from quickstudy.names import renamed

WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "None"}
"""How types are called in messages."""
SAID = {
    "expected one argument": "needs a value",
    "ignored explicit argument": "takes no value, so not",
    "the following arguments are required:": "it needs",
}
"""What argparse says in other words than ours."""


NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")
"""Numbers that argparse takes for no options; others need an equals sign."""


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are a UsageError: where, what is wrong, and the command that shows what is right (`see`)."""

    def __init__(self, *, prog: str, see: str = "", **how: Any):
        super().__init__(prog=prog, allow_abbrev=False, **how)
        self.command, self.see = prog.removeprefix("quickstudy "), see or f"{prog} --help"
        self.color = False  # of Python 3.14 on; what is printed has no control characters

    def options(self) -> list[argparse.Action]:
        """Its options, that for help aside."""
        return [action for action in self._actions if action.option_strings and action.dest != "help"]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().parse_known_args(in_one_spelling(args), namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, rest = self.parse_known_args(args, namespace)
        self.refuse(rest)
        return given

    def refuse(self, rest: list[str]) -> None:
        """Raises UsageError where something is left of the arguments: an option that isn't there, or a word too many."""
        if not rest:
            return
        if not rest[0].startswith("-"):
            self.say_no(f"{self.command} has no use for the word {shorten(rest[0])}")
        option, known = rest[0].split("=")[0], [text for action in self.options() for text in action.option_strings]
        now = renamed(as_field(option), map(as_field, known))
        guess = f"; it is called '--{now.replace('_', '-')}' now" if now else closest(option, known)
        self.say_no(f"{self.command} has no option {shorten(option)}{guess}")

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with a message of argparse's or our own."""
        if message.startswith("argument "):
            message = message.removeprefix("argument ").replace(": ", " ", 1)
        for theirs, ours in SAID.items():
            message = message.replace(theirs, ours)
        self.say_no(f"{self.command}: {message}")

    def say_no(self, message: str) -> NoReturn:
        """Raises UsageError, which says where to look."""
        raise UsageError(f"{message}{'' if message.endswith('?') else ';'} see: {self.see}")


def closest(word: str, known: Sequence[str]) -> str:
    """The end of a message that offers a known word, where one is close."""
    # dashes would make all options alike
    named = {each.removeprefix("--"): each for each in known if each.startswith("--") == word.startswith("--")}
    close = difflib.get_close_matches(word.removeprefix("--"), named, n=1, cutoff=0.5)
    return f"; did you mean '{named[close[0]]}'?" if close else ""


def as_field(option: str) -> str:
    """The name of the field that an option is for."""
    return option.removeprefix("--").replace("-", "_")


def in_one_spelling(arguments: Sequence[str]) -> list[str]:
    """The words with dashes in options, whichever way they were typed, and `--name -1e-3` as `--name=-1e-3`."""
    words: list[str] = []
    for word in arguments:
        option, *value = word.split("=", 1)
        if word.startswith("--"):
            words.append("=".join([option.replace("_", "-"), *value]))
        elif word.startswith("-") and words and words[-1].startswith("--") and is_number(word) and not NEGATIVE.fullmatch(word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def escaped(text: str) -> str:
    """A text that argparse shows as it is."""
    return text.replace("%", "%%")


def read(kind: Any, text: str) -> Any:
    """The value that a text is, of a plain type, a Literal or a union; ArgumentTypeError says what it must be."""
    choices = sorted(choices_of(kind), key=lambda choice: choice is str)  # any text is a str
    for choice in choices:
        with contextlib.suppress(KeyError, ValueError):
            return read_one(choice, text)
    words = [str(each) for choice in choices for each in words_of(choice)]
    must = f"{shorten(text)} must be {' or '.join(map(described, choices))}"
    raise argparse.ArgumentTypeError(must + closest(text, words))


def read_one(kind: Any, text: str) -> Any:
    """The value that a text is; KeyError or ValueError where it is none of this type."""
    if words := words_of(kind):
        return {str(each): each for each in words}[text]
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of any other type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, UnionType) else (kind,)


def words_of(kind: Any) -> tuple[Any, ...]:
    """The few values that a type has; nothing where they can't be listed."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    return {NoneType: (None,), bool: (True, False)}.get(kind, ())


def described(kind: Any) -> str:
    """A type in words, as messages name it."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    return WORDS[kind]


def placeholder(kind: Any) -> str:
    """A type as it stands behind its option in help."""
    told = [
        "{" + ",".join(map(str, words_of(choice))) + "}" if typing.get_origin(choice) is Literal else spelled(choice).upper()
        for choice in choices_of(kind)
    ]
    return "|".join(told).replace("NONE", "None")
