"""What callers hand over, looked at once at the door: names and types of arguments, and one line about what is wrong.

Command line, stored configurations and Python go through the same functions.
"""

from __future__ import annotations

import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial, wraps
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union

import numpy as np
import torch

from quickstudy.bounds import DEEPEST, LONGEST_NAME, beyond, wordy
from quickstudy.errors import UsageError, did_you_mean, shorten
from quickstudy.footprint import shortage, to_build
from quickstudy.names import renamed
from quickstudy.protocol import Agent, Learner, Policy, TaskDistribution

Thing = TypeVar("Thing")
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    NoneType: "None",
    TaskDistribution: "a task distribution: quickstudy.tasks.make('...') by name, or quickstudy.GymnasiumTasks('...', ...)",
    Agent: "an agent, such as quickstudy.RL2(tasks), or a stored one: quickstudy.load('RUN')",
    Learner: "a learner, such as quickstudy.RL2(tasks)",
    Policy: "a policy, such as learner.explorer()",
}
"""How types are called in messages, where a name alone wouldn't help."""


def checked(thing: Thing) -> Thing:
    """A function, or a class of whose constructor it holds, that raises UsageError for wrong names and types of arguments.

    Types are those of its annotations; signature, name and help stay as they are. NumPy's numbers become Python's, whole
    numbers become floats where floats are asked for, and an argument named `device` must be one that can be used here.
    """
    if not isinstance(thing, type):
        return guarded(thing, thing)
    thing.__init__ = guarded(thing.__init__, thing)  # type: ignore[misc]
    return thing  # pyright: ignore[reportReturnType]


def guarded(function: Any, thing: Any) -> Any:
    """The function behind its door, which speaks of `thing`."""
    signature = inspect.signature(function)

    @wraps(function)
    def door(*given: Any, **named: Any) -> Any:
        try:
            bound = signature.bind(*given, **named)
        except TypeError as error:
            raise UsageError(misnamed(thing, signature, named, error)) from None
        kinds = kinds_of(thing)
        for name, value in bound.arguments.items():
            if name in kinds:
                bound.arguments[name] = taken(value, kinds[name], f"{spelled(thing)}: {name} is ", ", it", name)
                if is_dataclass(thing):
                    require_short(bound.arguments[name], f"{spelled(thing)}: {name} is ", ", it")
        # a stored configuration may name a device of another machine: only what is to run here must run here
        if "device" in bound.arguments and not is_dataclass(thing):
            require_device(bound.arguments["device"])
        settings = getattr(thing, "Config", None) if isinstance(thing, type) else None
        if settings is not None:
            config = bound.arguments.get("config") or settings()
            require_room(spelled(thing), to_build(bound.arguments["tasks"], config), bound.arguments.get("device", "cpu"))
        return function(*bound.args, **bound.kwargs)

    return door


@cache
def kinds_of(thing: Any) -> dict[str, Any]:
    """The annotated types of what can be handed over by name; those of `*args` and `**options` speak for themselves."""
    door = thing.__init__ if isinstance(thing, type) else thing
    hints = typing.get_type_hints(thing if is_dataclass(thing) else inspect.unwrap(door))
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: hints[name]
        for name, parameter in inspect.signature(door).parameters.items()
        if name in hints and parameter.kind not in loose
    }


def taken(value: Any, kind: Any, before: str, after: str, name: str = "") -> Any:
    """A value as the type asks for it; UsageError, which shows it between two words, where it isn't of that type.

    A number has the bounds of all numbers, or those of the setting that is called `name`.
    """
    value = plain(value)
    if not fits(value, kind):
        raise UsageError(f"{before}{shown(value)}{after} must be {described(kind)}{way(value, kind)}")
    for part in parts_of(value):
        if limit := beyond(name, plain(part)):
            raise UsageError(f"{before}{shown(value)}{after} must be {limit}")
    return float(value) if wants_float(value, kind) else value


def parts_of(value: Any) -> tuple[Any, ...]:
    """The entries of a tuple; of anything else itself."""
    return value if isinstance(value, tuple) else (value,)


def require_short(value: Any, before: str, after: str) -> None:
    """Raises UsageError where a text of a configuration is long, or holds what a terminal wouldn't show."""
    if limit := wordy(value):
        raise UsageError(f"{before}{shown(value)}{after} must be {limit}")


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's, a device as its name; anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, torch.device) else value


def wants_float(value: Any, kind: Any) -> bool:
    """Whether a whole number stands where only a float may."""
    choices = choices_of(kind)
    return type(value) is int and float in choices and int not in choices


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of any other type itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, UnionType) else (kind,)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type; types that nothing can be said about fit anything."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in inner)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if kind is Any or isinstance(kind, TypeVar):
        return True
    if kind in (None, NoneType):
        return value is None
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and not missing_of(value, kind)
    if isinstance(value, bool):
        return kind in (bool, object)
    if kind is float:
        return is_finite(value)
    if origin is tuple and inner[1:] == (...,):
        return isinstance(value, tuple) and all(fits(plain(part), inner[0]) for part in value)
    found = origin or kind
    return isinstance(value, found) if isinstance(found, type) else True


def is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def missing_of(value: Any, protocol: Any) -> list[str]:
    """What a value lacks of a protocol's members."""
    layers = [layer for layer in protocol.__mro__ if getattr(layer, "_is_protocol", False)]
    members = {name for layer in layers for name in (*vars(layer), *vars(layer).get("__annotations__", ()))}
    return sorted(name for name in members if not name.startswith("_") and not hasattr(value, name))


def described(kind: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (Union, UnionType):
        return " or ".join(described(choice) for choice in inner if choice is not NoneType)
    if origin is tuple and inner[1:] == (...,):
        return f"a tuple, each of it {described(inner[0])}"
    if kind in WORDS:
        return WORDS[kind]
    if is_dataclass(kind):
        return f"{spelled(kind)}(...)"
    if (origin or kind) in (Callable, typing.get_origin(Callable[..., Any])):
        return "a function"
    return f"a {spelled(origin or kind)}" if isinstance(origin or kind, type) else str(kind)


def way(value: Any, kind: Any) -> str:
    """What to write instead, where that can be told."""
    for choice in choices_of(kind):
        if typing.get_origin(choice) is Literal and isinstance(value, str):
            texts = [text for text in typing.get_args(choice) if isinstance(text, str)]
            guess = did_you_mean(value, texts) if texts else ""
            return f"; {guess}" if guess.startswith("did") else ""
        if isinstance(choice, type) and is_dataclass(choice) and isinstance(value, Mapping):
            return f"; write {spelled(choice)}({', '.join(f'{name}={shown(part)}' for name, part in value.items())})"
        if getattr(choice, "_is_protocol", False) and not isinstance(value, str | int | float | Mapping | type | None):
            missing = missing_of(value, choice)
            return f" (it has no {', '.join(missing)})" if missing else ""
    return ""


def shown(value: Any) -> str:
    """A value in at most sixty characters; a configuration, a function or a class by its name."""
    if isinstance(value, type):
        return f"the class {spelled(value)}"
    if is_dataclass(value) or inspect.isroutine(value) or type(value).__repr__ is object.__repr__:
        return f"a {spelled(type(value))}"
    return shorten(value)


def spelled(thing: Any) -> str:
    """How a function or a class is written where it is used: a learner's configuration behind the learner's name."""
    owners = vars(sys.modules[thing.__module__]).items() if thing.__name__ == "Config" else ()
    return next((f"{name}.Config" for name, value in owners if getattr(value, "Config", None) is thing), thing.__name__)


def misnamed(thing: Any, signature: inspect.Signature, named: Mapping[str, Any], error: TypeError) -> str:
    """Why arguments don't go with a signature."""
    name, known = spelled(thing), [key for key in signature.parameters if key != "self"]
    positional = [key for key in known if signature.parameters[key].kind is not inspect.Parameter.KEYWORD_ONLY]
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [] if open_ended else [key for key in named if key not in known]
    if not unknown:
        if "too many positional" in str(error):
            takes = f"only {', '.join(positional)}" if positional else "nothing"
            return f"{name} takes {takes} by place: write its options by name, such as {name}({known[-1]}=...)"
        return f"{name}: {error}; it takes {', '.join(known)}"
    config = getattr(thing, "Config", None)
    if config is not None and unknown[0] in {field.name for field in fields(config)}:
        instead = f"{name}(tasks, {name}.Config({unknown[0]}={shown(named[unknown[0]])}))"
        return f"{name} has no argument '{unknown[0]}', its configuration has: {instead}"
    return f"{name} has no {'option' if is_dataclass(thing) else 'argument'} '{unknown[0]}'; {hint(unknown[0], known)}"


def hint(name: str, known: Iterable[str]) -> str:
    """Which known name an unknown one may mean; of one that earlier versions had, what it is called now."""
    known = list(known)
    now = renamed(name, known)
    return f"it is called '{now}' now" if now else did_you_mean(name, known)


def config_class(make: Any) -> type[Any]:
    """The class of a learner's settings; `make` is the learner's class, or a `functools.partial` of it."""
    learner = unwrapped(make)
    if not hasattr(learner, "Config"):
        raise UsageError(f"algorithm is {shown(make)}, it must be a learner's class, or a functools.partial of one")
    return learner.Config


def unwrapped(make: Any) -> Any:
    """What a `functools.partial` is of; anything else as it is."""
    return make.func if isinstance(make, partial) else make


def fill(cls: type[Any], values: dict[str, Any], where: str) -> Any:
    """Makes a dataclass of plain values, each key and type checked."""
    known = [field.name for field in fields(cls)]
    kinds = typing.get_type_hints(cls)
    for key in values:
        if key not in known:
            raise UsageError(f"{where} has no key '{key}'; {hint(key, known)}")
    found = {key: taken(value, kinds[key], f"{where} {key} = ", "", key) for key, value in values.items()}
    for key, value in found.items():
        require_short(value, f"{where} {key} = ", "")
    return cls(**found)


def require_room(what: str, parts: Mapping[str, float], device: str) -> None:
    """Raises UsageError, which names the largest parts, where this machine has not so many bytes free."""
    if short := shortage(parts, device):
        raise UsageError(f"{what}: {short}")


def excess(value: Any, name: str = "", depth: int = 0) -> str:
    """What is too large, too long or too deep in a table of plain values, in words; nothing where all of it is within."""
    if depth > DEEPEST:
        return f"tables and lists must lie at most {DEEPEST} deep in each other"
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, str) and (len(key) > LONGEST_NAME or not key.isprintable()):
                return f"the name {shorten(key)} must be at most {LONGEST_NAME} letters long, without control characters"
        return next(filter(None, (excess(part, str(key), depth + 1) for key, part in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (excess(part, name, depth + 1) for part in value)), "")
    limit = beyond(name, value) or wordy(value)
    return f"{name} = {shorten(value)} must be {limit}" if limit else ""


def require_device(device: str) -> None:
    """Raises UsageError where this machine has no such device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{device}' can't be used here; see: quickstudy doctor") from error
