"""What can be named and told, without what it is made of.

From it the command line lists names and reads options before PyTorch is imported, which takes seconds. `make index` writes
`index.json` from the classes, and a test holds it against them.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import typing
from dataclasses import MISSING, fields
from functools import cache, reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union

from quickstudy.errors import UsageError, did_you_mean

KINDS: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "None": NoneType}
"""The plain types; others are a Literal, a tuple of any length, or a union of such without tuples."""
CALLED = {"algorithms": "algorithm", "baselines": "baseline", "oracles": "oracle", "tasks": "tasks"}
"""Sections of the index that hold names, and what one of them is called."""


class Option(NamedTuple):
    """What can be told to something."""

    name: str
    kind: Any
    default: Any
    help: str


@cache
def index() -> dict[str, Any]:
    """All of it: sections of names, with what is known of each, and the options of `training` and `normalisation`."""
    return json.loads(Path(__file__).with_name("index.json").read_bytes())


def entry(section: str, name: str) -> dict[str, Any]:
    """What is known of a registered name; UsageError for an unknown one, or one of another section."""
    known = index()[section]
    if name in known:
        return known[name]
    if found := sections_of(name):
        raise UsageError(f"'{name}' names {article(found[0])}, not {article(section)}; of these there are: {', '.join(known)}")
    raise UsageError(f"unknown {CALLED[section]} '{name}'; {did_you_mean(name, known)}")


def sections_of(name: str) -> list[str]:
    """The sections in which a name stands."""
    return [section for section in CALLED if name in index()[section]]


def article(section: str) -> str:
    """One of a section's names, in words."""
    called = CALLED[section]
    return called if called == "tasks" else f"{'an' if called[0] in 'aeiou' else 'a'} {called}"


def options_in(table: dict[str, dict[str, Any]]) -> tuple[Option, ...]:
    """The options that a table of the index holds."""
    return tuple(
        Option(name, kind_of(told["type"]), tuple(value) if isinstance(value := told["default"], list) else value, told["help"])
        for name, told in table.items()
    )


def options_of(options: Any) -> tuple[Option, ...]:
    """The options that an instance of a configuration class says, its values as defaults; those of other types are left out."""
    cls = type(options)
    kinds, helps = typing.get_type_hints(cls), docstrings(cls)
    return tuple(
        Option(field.name, kinds[field.name], getattr(options, field.name), helps.get(field.name, ""))
        for field in fields(options)
        if field.init and is_plain(kinds[field.name])
    )


def table_of(cls: type[Any]) -> dict[str, dict[str, Any]]:
    """The options of a configuration class as the index writes them; those without a default are left out."""
    kinds, helps = typing.get_type_hints(cls), docstrings(cls)
    return {
        field.name: {"type": spelled(kinds[field.name]), "default": field.default, "help": helps.get(field.name, "")}
        for field in fields(cls)
        if field.default is not MISSING
    }


def docstrings(cls: type[Any]) -> dict[str, str]:
    """By field, the text under it in the class, or the `Doc` of its annotation."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        found |= texts_under_fields(each)
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        docs = [note.documentation for note in getattr(hint, "__metadata__", ()) if hasattr(note, "documentation")]
        if docs:
            found.setdefault(name, docs[0])
    return {name: " ".join(text.split()) for name, text in found.items()}


def texts_under_fields(cls: type[Any]) -> dict[str, str]:
    """By annotated name, the text that stands right under it; nothing where a class has no source."""
    try:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    found = {}
    for line, under in pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(under, ast.Expr):
            if isinstance(under.value, ast.Constant) and isinstance(under.value.value, str):
                found[line.target.id] = under.value.value
    return found


def is_plain(kind: Any) -> bool:
    """Whether a type is one of those that the index and the command line can say."""
    return kind_of(text) == kind if (text := spelled(kind)) else False


def spelled(kind: Any) -> str:
    """A type as it is written; nothing where it is of another kind."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]" if all(isinstance(each, str | int) for each in inner) else ""
    if origin in (Union, UnionType):
        texts = ["" if typing.get_origin(each) is tuple else spelled(each) for each in inner]
        return " | ".join(texts) if all(texts) else ""
    if origin is tuple and inner[1:] == (...,):
        return f"tuple[{spelled(inner[0])}, ...]" if spelled(inner[0]) else ""
    return next((name for name, each in KINDS.items() if each is kind), "")


def kind_of(text: str) -> Any:
    """The type that a text spells; nothing but the types above is read."""
    return kind_at(ast.parse(text, mode="eval").body)


def kind_at(node: ast.AST) -> Any:
    """The type at a place of a text's tree."""
    match node:
        case ast.Name(id=name) if name in KINDS:
            return KINDS[name]
        case ast.Constant(value=None):
            return NoneType
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return reduce(or_, [kind_at(left), kind_at(right)])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return Literal[ast.literal_eval(inner)]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[inner, ast.Constant(value=end)])) if end is ...:
            return tuple[kind_at(inner), ...]
    raise ValueError(f"no type: {ast.unparse(node)}")
