"""Options made of the fields of configuration classes."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import Any


def default_family(name: str) -> Any:
    """A registered family's options as they are by default."""
    from quickstudy.tasks import family

    return family(name)()


def make_tasks(name: str, options: Any) -> Any:
    """A registered family's task distribution."""
    from quickstudy.tasks import make

    return make(name, **{field.name: getattr(options, field.name) for field in fields(options)})


def parse_fields(program: str, parts: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Reads options into frozen dataclasses: each field is an option, its docstring the help, its value the default."""
    import tyro

    bare = tyro.conf.OmitArgPrefixes
    options = make_dataclass("Options", [(name, bare[type(value)]) for name, value in parts.items()], frozen=True)
    parsed = tyro.cli(options, prog=program, args=arguments, default=options(**parts), description="")
    return {name: getattr(parsed, name) for name in parts}


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
