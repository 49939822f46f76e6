"""What a user brings in a file: task distributions and learners, named FILE.py:OBJECT.

Only the command line says what is imported, never a stored run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from quickstudy.errors import QuickstudyError, UsageError, did_you_mean, ending


def is_own(name: str) -> bool:
    """Whether an argument names a file of the user's own."""
    return ".py:" in name or name.endswith(".py")


def load_tasks(place: str) -> Any:
    """The task distribution in FILE.py:OBJECT."""
    found = load_object(place, is_distribution)
    if not is_distribution(found):
        raise UsageError(
            f"{place} is a {type(found).__name__}, no task distribution: make one with quickstudy.GymnasiumTasks(...)"
        )
    return found


def load_algorithm(place: str) -> Any:
    """The learner's class in FILE.py:CLASS."""
    found = load_object(place, is_learner)
    if not is_learner(found):
        raise UsageError(
            f"{place} is no learner: a class with Config, explorer, adapt, train_step, state_dict and load_state_dict;"
            " docs/extending.md writes one"
        )
    return found


def load_object(place: str, wanted: Callable[[Any], bool]) -> Any:
    """What FILE.py:OBJECT names; UsageError where the file, or the object in it, is missing, or the file can't be run.

    `wanted` says which of the file's objects to offer where the name is wrong.
    """
    file, _, name = place.partition(":")
    module = import_file(Path(file))
    own = [key for key, value in vars(module).items() if wanted(value)]
    if not name:
        raise UsageError(f"say which object of {file}: {file}:{own[0] if own else 'OBJECT'}")
    if not hasattr(module, name):
        raise UsageError(f"{file} has no '{name}'; {did_you_mean(name, own or ['(nothing that fits)'])}")
    found = getattr(module, name)
    # tables, pages and commands call it as it was typed
    with contextlib.suppress(AttributeError):
        found.called = place
    return found


def import_file(path: Path) -> ModuleType:
    """A user's file as a module; what lies beside it can be imported from it."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; name a registered one (quickstudy list) or FILE.py:OBJECT")
    import cloudpickle

    name = f"own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[name] = module
    # a worker process can't import it by this name, so what is sent there carries its own code
    cloudpickle.register_pickle_by_value(module)
    try:
        spec.loader.exec_module(module)
    except QuickstudyError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).resolve() == path.resolve()
        ]
        where = f", line {lines[-1]}," if lines else ""
        raise UsageError(f"{path}{where} {ending(error)} when it was imported") from error
    return module


def is_distribution(value: Any) -> bool:
    """Whether an object speaks the protocol of task distributions."""
    names = ("observation_space", "sample", "make", "episodes_per_trial")
    return not isinstance(value, type) and all(hasattr(value, name) for name in names)


def is_learner(value: Any) -> bool:
    """Whether an object is a learner's class, or a partial of one: a learner with a network of one's own."""
    from quickstudy.arguments import unwrapped

    names, made = ("Config", "explorer", "adapt", "train_step", "state_dict", "load_state_dict"), unwrapped(value)
    return isinstance(made, type) and all(hasattr(made, name) for name in names)
