"""The command line. Names and files are looked up here; what they mean is in the modules below."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, make_dataclass
from pathlib import Path
from typing import Any

from quickstudy.errors import QuickstudyError, UsageError, did_you_mean

USAGE = """\
usage: quickstudy COMMAND ...

Meta-reinforcement learning: agents that meta-learn on a distribution of tasks and adapt to a new one in a few episodes.

commands:
  list [tasks|algorithms]      what there is: names, options, task parameters with their bounds
  train ALGORITHM TASKS ...    meta-train; every option of the two: quickstudy train ALGORITHM TASKS --help
  resume RUN                   go on with a run that was stopped
  evaluate RUN                 adapt to held-out tasks and show the return by episode
  doctor                       versions, devices, threads, and extras with how to install them

TASKS is a registered name, or FILE.py:OBJECT for a task distribution of your own.

an example:
  quickstudy train rl2 grid-navigation --iterations 100 --run runs/grid
  quickstudy evaluate runs/grid
"""

TRAIN_USAGE = """\
usage: quickstudy train ALGORITHM TASKS [--iterations N] [--seed S] [--run DIR] [--config FILE.toml] [--device D]
                        [--KEY VALUE ...]

Meta-trains and keeps everything in the folder DIR (default: runs/ALGORITHM-TASKS-seedS).
--config reads options from a file such as a run's own config.toml, which may also name ALGORITHM and TASKS; options here win.
Every option of an algorithm and of its tasks, with its meaning and default:

  quickstudy train rl2 grid-navigation --help

Names: quickstudy list
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 done or saved, 1 something failed, 2 the command was wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"quickstudy {version('quickstudy')}")
        return 0
    commands = {"list": list_names, "train": train, "resume": resume, "evaluate": evaluate, "doctor": doctor}
    try:
        if arguments[0] not in commands:
            raise UsageError(f"unknown command '{arguments[0]}'; {did_you_mean(arguments[0], commands)}")
        return commands[arguments[0]](arguments[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except QuickstudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1


def interruptible_status(run: Callable[[], Any]) -> int:
    """Runs a training; stopping it by Ctrl-C or SIGTERM is no failure, since its state is saved."""
    try:
        run()
    except KeyboardInterrupt:
        pass
    return 0


def train(arguments: list[str]) -> int:
    """`quickstudy train`: names first, then options made of the fields of configuration classes."""
    names = []
    while arguments and not arguments[0].startswith("-"):
        names.append(arguments.pop(0))
    if (arguments[:1] in (["-h"], ["--help"]) and len(names) < 2) or (not names and not arguments):
        print(TRAIN_USAGE, end="")
        return 0
    parser = argparse.ArgumentParser(prog="quickstudy train", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--run", type=Path)
    given, rest = parser.parse_known_args(arguments)

    from quickstudy.runs.config import Training, read_config
    from quickstudy.runs.folder import free_folder
    from quickstudy.training import resolve
    from quickstudy.training import train as meta_train

    stored = read_config(given.config) if given.config else None
    if stored and len(names) < 2:
        if stored.task_options is None:
            raise UsageError(
                f"{given.config} is for tasks of your own ({stored.tasks}), which no stored run may import;"
                f" name them: quickstudy train {stored.algorithm} FILE.py:OBJECT --config {given.config}"
            )
        names = [*(names or [stored.algorithm]), stored.tasks]
    if len(names) != 2:
        raise UsageError(
            f"train takes two names, ALGORITHM and TASKS, not {len(names)} ({' '.join(names)}); see: quickstudy train --help"
        )
    own = load_object(names[1]) if is_own(names[1]) else None
    if stored and (names[0] != stored.algorithm or (not own and names[1] != stored.tasks)):
        raise UsageError(f"{given.config} is for {stored.algorithm} on {stored.tasks}, not {names[0]} on {names[1]}")

    from quickstudy.algorithms import algorithm

    chosen = algorithm(names[0])
    parts = {"algorithm": stored.algorithm_options if stored else chosen.config()}
    if own is None:
        parts["tasks"] = stored.task_options if stored else default_family(names[1])
    parts["training"] = stored.training if stored else Training()
    options = parse_fields(f"quickstudy train {' '.join(names)}", parts, rest)

    tasks = own or make_tasks(names[1], options["tasks"])
    training = resolve(options["training"])
    learner = chosen.make(tasks, options["algorithm"], seed=training.seed, device=training.device)
    run = given.run or free_folder(Path("runs") / f"{names[0]}-{Path(names[1].split(':')[0]).stem}-seed{training.seed}")
    settings = {field.name: getattr(training, field.name) for field in fields(training)}
    for name in ("seed", "device"):
        del settings[name]
    command = shlex.join(["quickstudy", "train", *names, *arguments])

    def work() -> None:
        meta_train(learner, run=run, label=names[1], command=command, **settings)
        own_tasks = f" --tasks {names[1]}" if own else ""
        print(f"saved in {run}; see how it adapts to held-out tasks: quickstudy evaluate {run}{own_tasks}", file=sys.stderr)

    return interruptible_status(work)


def resume(arguments: list[str]) -> int:
    """`quickstudy resume`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy resume", description="Goes on with a stopped run to its last meta-iteration."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--tasks", metavar="FILE.py:OBJECT", help="for a run on tasks of your own: those tasks again")
    given = parser.parse_args(arguments)

    from quickstudy.training import resume as go_on

    tasks = load_object(given.tasks) if given.tasks else None
    return interruptible_status(lambda: go_on(given.run, tasks))


def evaluate(arguments: list[str]) -> int:
    """`quickstudy evaluate`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy evaluate",
        description="Adapts a trained agent to tasks it has not seen and shows the return of each episode.",
        epilog="A baseline needs no run: quickstudy evaluate random grid-navigation [--KEY VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or the name of a baseline")
    parser.add_argument("baseline_tasks", metavar="TASKS", nargs="?", help="for a baseline: the tasks, with their options")
    parser.add_argument("--episodes", type=positive, metavar="K", help="episodes of each trial (default: as in training)")
    parser.add_argument("--num-tasks", type=positive, default=100, metavar="N", help="how many tasks (default 100)")
    parser.add_argument(
        "--split", default="test", choices=("train", "validation", "test"), help="where tasks come from (default test)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which tasks and which noise (default 0)")
    parser.add_argument("--greedy", action="store_true", help="take the most likely action instead of sampling as in training")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tasks", metavar="FILE.py:OBJECT", help="for a run on tasks of your own: those tasks again")
    given, rest = parser.parse_known_args(arguments)

    from quickstudy.algorithms import BASELINES
    from quickstudy.evaluation import evaluate as score
    from quickstudy.runs import load

    if given.baseline_tasks and not Path(given.run).is_dir():
        if given.run not in BASELINES:
            raise UsageError(f"unknown baseline '{given.run}'; {did_you_mean(given.run, BASELINES)}")
        if is_own(given.baseline_tasks):
            agent = BASELINES[given.run](load_object(given.baseline_tasks))
        else:
            options = {"tasks": default_family(given.baseline_tasks)}
            options = parse_fields(f"quickstudy evaluate {given.run} {given.baseline_tasks}", options, rest)
            agent, rest = BASELINES[given.run](make_tasks(given.baseline_tasks, options["tasks"])), []
    else:
        if given.baseline_tasks:
            rest = [given.baseline_tasks, *rest]
        agent = load(given.run, load_object(given.tasks) if given.tasks else None)
    if rest:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UsageError(f"evaluate has no option '{rest[0]}'; {did_you_mean(rest[0], known)}")
    evaluation = score(
        agent, episodes=given.episodes, num_tasks=given.num_tasks, split=given.split, seed=given.seed, greedy=given.greedy
    )
    print(json.dumps(evaluation.as_json()) if given.json else evaluation)
    return 0


def list_names(arguments: list[str]) -> int:
    """`quickstudy list`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy list", description="Names, options with defaults, and task parameters with bounds."
    )
    parser.add_argument("what", nargs="?", choices=("tasks", "algorithms"), help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)

    from quickstudy.algorithms import ALGORITHMS, BASELINES
    from quickstudy.tasks import FAMILIES

    listing: dict[str, Any] = {}
    if given.what != "algorithms":
        listing["tasks"] = {
            name: {
                "summary": first_sentence(options),
                "options": defaults(options),
                "parameters": {key: str(parameter) for key, parameter in options().parameters.items()},
            }
            for name, options in FAMILIES.items()
        }
    if given.what != "tasks":
        listing["algorithms"] = {
            name: {"summary": entry.summary, "options": defaults(entry.config)} for name, entry in ALGORITHMS.items()
        } | {
            name: {"summary": f"baseline, needs no training: {first_sentence(entry)}", "options": {}}
            for name, entry in BASELINES.items()
        }
    if given.json:
        print(json.dumps(listing))
        return 0
    for kind, entries in listing.items():
        print(f"{kind}:")
        for name, entry in entries.items():
            print(f"  {name:<16} {entry['summary']}")
            for title in ("parameters", "options"):
                if entry.get(title):
                    print(f"    {title}: " + ", ".join(f"{key} {value}" for key, value in entry[title].items()))
    return 0


def doctor(arguments: list[str]) -> int:
    """`quickstudy doctor`."""
    argparse.ArgumentParser(prog="quickstudy doctor", description="Shows what quickstudy finds on this machine.").parse_args(
        arguments
    )

    import importlib.metadata
    import re

    import torch

    from quickstudy.runs.folder import system

    found = system()
    print(f"python {found['python']} on {found['platform']}")
    for name, number in found["packages"].items():
        print(f"{name} {number}")
    print(f"devices: cpu{''.join(f', cuda:{i} ({torch.cuda.get_device_name(i)})' for i in range(torch.cuda.device_count()))}")
    print(f"threads: {torch.get_num_threads()} of {found['cores']} cores")
    for line in importlib.metadata.requires("quickstudy") or ():
        match = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if match and match[1] != "quickstudy":
            try:
                state = importlib.metadata.version(match[1])
            except importlib.metadata.PackageNotFoundError:
                state = f"missing; install it: pip install 'quickstudy[{match[2]}]'"
            print(f"extra {match[2]}: {match[1]} {state}")
    return 0


def is_own(tasks: str) -> bool:
    """Whether a TASKS argument names a file of the user's own."""
    return ".py:" in tasks or tasks.endswith(".py")


def load_object(place: str) -> Any:
    """The task distribution in FILE.py:OBJECT. Only the command line says what is imported, never a stored run."""
    import importlib.util

    file, _, name = place.partition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{file}: no such file; TASKS is a registered name or FILE.py:OBJECT")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except QuickstudyError:
        raise
    except Exception as error:
        raise UsageError(f"{file} raised {type(error).__name__} when it was imported: {error}") from error
    tasks = [key for key, value in vars(module).items() if is_distribution(value)]
    if not name:
        raise UsageError(f"say which object of {file}: {file}:{tasks[0] if tasks else 'OBJECT'}")
    if not hasattr(module, name):
        raise UsageError(f"{file} has no '{name}'; {did_you_mean(name, tasks or ['(no task distribution at all)'])}")
    found = getattr(module, name)
    if not is_distribution(found):
        raise UsageError(
            f"{place} is a {type(found).__name__}, no task distribution: make one with quickstudy.GymnasiumTasks(...)"
        )
    return found


def is_distribution(value: Any) -> bool:
    """Whether an object speaks the protocol of task distributions."""
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("observation_space", "sample", "make", "episodes_per_trial")
    )


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


def defaults(options: type[Any]) -> dict[str, Any]:
    """A configuration's fields with their defaults."""
    return {field.name: field.default for field in fields(options) if field.default is not MISSING}


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    return (thing.__doc__ or "").strip().split("\n")[0].split(". ")[0].rstrip(".")
