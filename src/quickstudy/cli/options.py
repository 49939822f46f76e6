"""Options made of the fields of configuration classes, and those that several commands have."""

from __future__ import annotations

import argparse
import difflib
import shlex
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from quickstudy.cli.words import Parser, escaped, placeholder, read
from quickstudy.errors import UsageError, shorten
from quickstudy.index import Option, entry, index, options_in, options_of, sections_of
from quickstudy.printed import say


class Part(NamedTuple):
    """Options that belong together, and what is made of those that were typed."""

    options: tuple[Option, ...]
    make: Callable[..., Any]
    about: str = ""


def part(section: str, name: str = "") -> Part:
    """The options of a section of the index, or of a name in it; UsageError for an unknown name."""
    known = entry(section, name) if name else {"options": index()[section]}
    return Part(options_in(known["options"]), lambda **options: configuration(section, name)(**options), known.get("about", ""))


def configuration(section: str, name: str) -> type[Any]:
    """The class of a name's options."""
    match section:
        case "algorithms":
            from quickstudy.algorithms import algorithm

            return algorithm(name).config
        case "oracles":
            from quickstudy.oracles import ORACLES

            return ORACLES[name].options
        case "tasks":
            from quickstudy.families import family

            return family(name)
        case "normalisation":
            from quickstudy.wrappers.normalised import Normalisation

            return Normalisation
        case "library":
            from quickstudy.libraries.library import Weighing

            return Weighing
        case "transfer":
            from quickstudy.transferring.start import FineTuning

            return FineTuning
    from quickstudy.runs.config import Training

    return Training


def part_of(options: Any) -> Part:
    """The options that an instance of a configuration class says, its values as defaults."""
    return Part(options_of(options), partial(replace, options))


def told_parts(parts: Mapping[str, Any]) -> dict[str, Part]:
    """Parts of which some may be instances of a configuration class."""
    return {name: value if isinstance(value, Part) else part_of(value) for name, value in parts.items()}


def name_next(*words: str, flags: str = "") -> None:
    """Says on stderr what one would do next: a command's words, and what its own files need to be named again."""
    say(f"next: {shlex.join(['quickstudy', *words])}{flags}")


def add_split(parser: Any, more: str = "") -> None:
    """Where tasks come from, with what a command has to say of it."""
    parser.add_argument(
        "--split",
        default="test",
        type=one_of("train", "validation", "test", "extrapolation"),
        metavar="{train,validation,test,extrapolation}",
        help=f"where tasks come from (default test){more}",
    )


def make_tasks(name: str, options: Any) -> Any:
    """A registered family's task distribution."""
    from quickstudy.families import make

    return make(name, **vars(options))


def read_fields(
    program: str, parts: dict[str, Any], arguments: Sequence[str], beside: Parser | None = None, see: str = ""
) -> Callable[[], dict[str, Any]]:
    """Reads options of configurations: those of a `Part`, or of an instance, whose values are the defaults.

    What comes back makes them, and imports what that needs: a command says what it is about before. An option whose name is
    taken begins with its part's. `beside` has the options that the command reads itself, `see` is what shows them all.
    """
    told = told_parts(parts)
    parser = Parser(
        prog=program,
        usage=f"{program} [--KEY VALUE ...]",
        argument_default=argparse.SUPPRESS,
        conflict_handler="resolve",
        see=see,
    )
    if beside:
        show_options(parser, beside)
    taken: set[str] = set()
    for name, part in told.items():
        group = parser.add_argument_group(f"{name} options", escaped(part.about) or None)
        add_options(group, part.options, name, taken)
        taken |= {option.name for option in part.options}
    given = vars(parser.parse_args(arguments))
    typed = {
        name: {option.name: given[key] for option in part.options if (key := f"{name} {option.name}") in given}
        for name, part in told.items()
    }
    return lambda: {name: part.make(**typed[name]) for name, part in told.items()}


def show_options(parser: Parser, beside: Parser) -> None:
    """Adds options that another parser has read already, for help and for who mistypes one."""
    for action in beside.options():
        if action.nargs == 0:
            parser.add_argument(*action.option_strings, dest=action.dest, action="store_true", help=action.help)
        else:
            how = {"nargs": action.nargs, "metavar": action.metavar, "help": action.help}
            parser.add_argument(*action.option_strings, dest=action.dest, **how)


def add_options(group: Any, options: Iterable[Option], part: str = "", taken: Collection[str] = ()) -> None:
    """Fields as options; those whose name is taken begin with the part's."""
    for option in options:
        called = f"{part}-{option.name}" if option.name in taken else option.name
        add_option(group, option, f"--{called.replace('_', '-')}", f"{part} {option.name}")


def add_option(group: Any, option: Option, called: str, dest: str) -> None:
    """One field as an option."""
    text = escaped(f"{option.help} (default: {option.default})".strip())
    if option.kind is bool:
        group.add_argument(called, dest=dest, action=argparse.BooleanOptionalAction, help=text)
        return
    kind, many = option.kind, typing.get_origin(option.kind) is tuple
    kind = typing.get_args(kind)[0] if many else kind
    how: dict[str, Any] = {"nargs": "*", "action": Tuple} if many else {}
    group.add_argument(called, dest=dest, type=partial(read, kind), metavar=placeholder(kind), help=text, **how)


class Tuple(argparse.Action):
    """Several values as a tuple."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def require_run(folder: str | Path) -> None:
    """Raises UsageError where a folder holds no run, before that is found out by what takes seconds to import."""
    path = Path(folder)
    if not (path / "config.toml").is_file():
        if sections_of(str(folder)):
            raise UsageError(f"'{folder}' is a name and no run; what it is and how to use it: quickstudy list {folder}")
        beside = {each.parent.name: str(each.parent) for each in path.parent.glob("*/config.toml")}
        close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
        guess = f"; did you mean '{beside[close[0]]}'?" if close else ""
        raise UsageError(f"{folder} is no run: it has no config.toml{guess}")


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
    return read(int | str, text)


def one_of(*words: str) -> Callable[[str], str]:
    """What reads one of a few words."""
    return partial(read, Literal[words])


def file_name(text: str) -> Path:
    """The name of a file to write."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{shorten(text)} is a folder: name a file")
    return Path(text)


def whole(text: str) -> int:
    """A whole number."""
    return read(int, text)


def natural(text: str) -> int:
    """A whole number of at least 0."""
    return at_least(0, whole(text))


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return at_least(1, whole(text))


def seconds(text: str) -> float:
    """A number above 0."""
    value = read(float, text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{shorten(text)} must be above 0")
    return value


def at_least(least: int, value: int) -> int:
    """A number that isn't too small."""
    if value < least:
        raise argparse.ArgumentTypeError(f"'{shorten(value)}' must be at least {least}")
    return value
