"""Options made of the fields of configuration classes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields, make_dataclass
from typing import Annotated, Any, get_type_hints


def default_family(name: str) -> Any:
    """A registered family's options as they are by default."""
    from quickstudy.families import family

    return family(name)()


def make_tasks(name: str, options: Any) -> Any:
    """A registered family's task distribution."""
    from quickstudy.families import make

    return make(name, **{field.name: getattr(options, field.name) for field in fields(options)})


def parse_fields(program: str, parts: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Reads options into frozen dataclasses: each field is an option, its docstring the help, its value the default."""
    import tyro

    from quickstudy.arguments import hint
    from quickstudy.errors import UsageError
    from quickstudy.names import renamed as called_now

    known = [field.name for value in parts.values() for field in fields(value)]
    for word in arguments:
        name = word.removeprefix("--").split("=")[0].replace("-", "_")
        if word.startswith("--") and name not in known and called_now(name, known):
            raise UsageError(f"{program} has no option '{word.split('=')[0]}'; {hint(name, known).replace('_', '-')}")
    taken: set[str] = set()
    kinds: dict[str, type[Any]] = {}
    for name, value in parts.items():
        own = {field.name for field in fields(value)}
        kinds[name] = renamed(name, type(value), taken & own)
        taken |= own
    typed = [(name, tyro.conf.OmitArgPrefixes[kind]) for name, kind in kinds.items()]
    options = make_dataclass("Options", typed, frozen=True)
    defaults = options(**{name: kinds[name](**vars(value)) for name, value in parts.items()})
    parsed = tyro.cli(options, prog=program, args=arguments, default=defaults, description="")
    return {name: type(value)(**vars(getattr(parsed, name))) for name, value in parts.items()}


def renamed(part: str, kind: type[Any], names: Iterable[str]) -> type[Any]:
    """A class of options some of whose names are taken already: on the command line these begin with the part's."""
    import tyro

    types = get_type_hints(kind)
    again = [(name, Annotated[types[name], tyro.conf.arg(name=f"{part}-{name}")]) for name in sorted(names)]
    return make_dataclass(kind.__name__, again, bases=(kind,), frozen=True, kw_only=True) if again else kind


def add_own_tasks(parser: argparse.ArgumentParser) -> None:
    """The option that names tasks of one's own again, which no run imports by itself."""
    parser.add_argument("--tasks", metavar="FILE.py:OBJECT", help="for a run on tasks of your own: those tasks again")


def add_own_algorithm(parser: argparse.ArgumentParser) -> None:
    """The option that names the class of a learner of one's own again."""
    parser.add_argument("--algorithm", metavar="FILE.py:CLASS", help="for a run with a learner of your own: its class again")


def add_places(parser: argparse.ArgumentParser, workers: int | None, deadline: float | None) -> None:
    """Where a command's units of work are done, which changes its speed and never its result."""
    parser.add_argument(
        "--workers",
        type=place,
        default=workers,
        metavar="N",
        help="processes that share it, or ray, ray:N or ray://HOST:10001 (default: in this process)",
    )
    parser.add_argument(
        "--deadline", type=seconds, default=deadline, metavar="S", help="seconds after which a worker is taken for hung"
    )


def places_of(given: argparse.Namespace) -> dict[str, Any]:
    """What was said about workers."""
    return {name: value for name in ("workers", "deadline") if (value := getattr(given, name)) is not None}


def place(text: str) -> int | str:
    """A number of processes, or the name of another place."""
    return int(text) if text.lstrip("-").isdigit() else text


def natural(text: str) -> int:
    """A whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def seconds(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
