"""`quickstudy train` and `quickstudy resume`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.cli.options import (
    add_own_algorithm,
    add_own_tasks,
    add_places,
    default_family,
    make_tasks,
    natural,
    parse_fields,
    positive,
)
from quickstudy.cli.own import is_own, load_algorithm, load_tasks
from quickstudy.errors import QuickstudyError, UsageError, require_at_least
from quickstudy.printed import say

TRAIN_USAGE = """\
usage: quickstudy train ALGORITHM TASKS [--iterations N] [--steps N] [--seed S] [--seeds N] [--run DIR]
                        [--config FILE.toml] [--device D] [--KEY VALUE ...]

Meta-trains and keeps everything in the folder DIR (default: runs/ALGORITHM-TASKS-seedS).
--steps N ends with the meta-iteration in which so many environment steps are taken; with --iterations, whichever is first.
--seeds N trains N times, one after the other, from the seeds S, S + 1 ...; each is a run of its own, DIR/seed-S ...
--config reads options from a file such as a run's own config.toml, which may also name ALGORITHM and TASKS; options here win.
ALGORITHM is a registered name or FILE.py:CLASS, TASKS a registered name or FILE.py:OBJECT.
Every option of an algorithm and of its tasks, with its meaning and default:

  quickstudy train rl2 grid-navigation --help

Names: quickstudy list
"""


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
    parser.add_argument("--seeds", type=int, default=1)
    given, rest = parser.parse_known_args(arguments)
    require_at_least(1, "train", given, "seeds")

    from quickstudy.runs import warn_of_machine
    from quickstudy.runs.config import MACHINE, config_of, machine_of, normalised, read_config
    from quickstudy.runs.folder import free_folder
    from quickstudy.runs.seeds import create_seeds
    from quickstudy.training import begin, resolve, train_seeds

    stored = read_config(given.config) if given.config else None
    algorithm, tasks = named(names, stored, given.config)
    make_learner, defaults = learner_of(algorithm, stored)
    own_tasks = load_tasks(tasks) if is_own(tasks) else None
    parts = {"algorithm": defaults}
    if own_tasks is None:
        parts["tasks"] = stored.task_options if stored else default_family(tasks)
    parts |= {"normalisation": stored.normalisation, "training": stored.training} if stored else common_options()
    options = parse_fields(f"quickstudy train {algorithm} {tasks}", parts, rest)

    command = shlex.join(["quickstudy", "train", *names, *arguments])
    say(f"training {algorithm} on {tasks} ...")
    training = resolve(options["training"])
    if stored:
        asked = stored.elsewhere(MACHINE, machine_of(training))
        # of tasks that have workers themselves, the option of the same name is theirs
        theirs = hasattr(options.get("tasks"), "workers")
        warn_of_machine({f"training_{name}" if theirs and name == "workers" else name: asked[name] for name in asked}, command)
    distribution = own_tasks or make_tasks(tasks, options["tasks"])
    learner = make_learner(distribution, options["algorithm"], seed=training.seed, device=training.device)
    learner = normalised(learner, options["normalisation"])
    config = config_of(learner, training, tasks, algorithm)
    seeds = list(range(training.seed, training.seed + given.seeds))
    called = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    run = given.run or free_folder(Path("runs") / f"{stem(algorithm)}-{stem(tasks)}-{called}")

    def work() -> None:
        if len(seeds) == 1:
            begin(learner, config, run, command, quiet=False)
        else:
            create_seeds(run, config, seeds, command)
            train_seeds(run, own_tasks, make_learner if config.own_algorithm else None, **machine_of(training))
        evaluate = f"quickstudy evaluate {shlex.quote(str(run))}{config.own_flags}"
        say(f"saved in {run}; see how it adapts to held-out tasks: {evaluate}")

    return interruptible_status(work)


def named(names: list[str], stored: Any, config: Path | None) -> tuple[str, str]:
    """ALGORITHM and TASKS, from the command line or else from a stored configuration."""
    if stored and len(names) < 2:
        if stored.own_algorithm and not names:
            raise UsageError(
                f"{config} is for an algorithm of your own ({stored.algorithm}), which no stored run may import;"
                f" name it: quickstudy train FILE.py:CLASS {stored.tasks} --config {config}"
            )
        if stored.task_options is None:
            raise UsageError(
                f"{config} is for tasks of your own ({stored.tasks}), which no stored run may import;"
                f" name them: quickstudy train {stored.algorithm} FILE.py:OBJECT --config {config}"
            )
        names = [*(names or [stored.algorithm]), stored.tasks]
    if len(names) != 2:
        raise UsageError(
            f"train takes two names, ALGORITHM and TASKS, not {len(names)} ({' '.join(names)}); see: quickstudy train --help"
        )
    algorithm, tasks = names
    if stored:
        same_algorithm = stored.own_algorithm if is_own(algorithm) else algorithm == stored.algorithm
        if not same_algorithm or not (is_own(tasks) or tasks == stored.tasks):
            raise UsageError(f"{config} is for {stored.algorithm} on {stored.tasks}, not {algorithm} on {tasks}")
    return algorithm, tasks


def learner_of(name: str, stored: Any) -> tuple[Callable[..., Any], Any]:
    """What builds the learner, and the configuration that options change."""
    from quickstudy.algorithms import algorithm
    from quickstudy.arguments import config_class, fill

    if not is_own(name):
        chosen = algorithm(name)
        return chosen.make, stored.algorithm_options if stored else chosen.config()
    own = load_algorithm(name)
    kind = config_class(own)
    return own, fill(kind, stored.algorithm_options, f"[algorithm] {name}") if stored else kind()


def common_options() -> dict[str, Any]:
    """What every run can be told."""
    from quickstudy.runs.config import Training
    from quickstudy.wrappers.normalised import Normalisation

    return {"normalisation": Normalisation(), "training": Training()}


def stem(name: str) -> str:
    """A registered name, or a user's file without folder and suffix."""
    return Path(name.split(":")[0]).stem


def resume(arguments: list[str]) -> int:
    """`quickstudy resume`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy resume",
        description="Goes on with a stopped run, or with the runs of a folder of seeds, to the end of its budget, or of another"
        " one, which may go beyond what a finished run has done.",
        epilog="Nothing that belongs to the machine is taken from the folder: workers, device, threads ... are given again.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or of seeds")
    parser.add_argument("--iterations", type=positive, metavar="N", help="another budget: meta-iterations in all")
    parser.add_argument("--steps", type=positive, metavar="N", help="another budget: environment steps in all")
    add_own_tasks(parser)
    add_own_algorithm(parser)
    add_places(parser, None, None)
    parser.add_argument("--attempts", type=positive, metavar="N", help="failures of one unit of work that stop the run (3)")
    parser.add_argument("--device", metavar="D", help="where tensors live: cpu, cuda, cuda:1 ... (default cpu)")
    parser.add_argument(
        "--threads", type=natural, metavar="N", help="of the update (default 1); another number may change bits"
    )
    parser.add_argument("--log", choices=("tensorboard", "wandb", "mlflow"), help="where metrics go besides (tensorboard)")
    parser.add_argument("--profile", type=natural, metavar="N", help="meta-iterations of which a profile is made (0)")
    given = parser.parse_args(arguments)
    say(f"going on with {given.run} ...")

    from quickstudy.recipes.demo import finish, is_unfinished
    from quickstudy.runs.config import MACHINE
    from quickstudy.runs.seeds import holds_seeds
    from quickstudy.training import resume as resume_run
    from quickstudy.training import train_seeds

    tasks = load_tasks(given.tasks) if given.tasks else None
    algorithm = load_algorithm(given.algorithm) if given.algorithm else None
    go_on = train_seeds if holds_seeds(given.run) else resume_run

    here = {name: getattr(given, name) for name in MACHINE if getattr(given, name) is not None}

    def work() -> None:
        go_on(given.run, tasks, algorithm, iterations=given.iterations, steps=given.steps, **here)
        if is_unfinished(given.run):
            finish(given.run)

    return interruptible_status(work)


def demo(arguments: list[str]) -> int:
    """`quickstudy demo`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy demo",
        description="Meta-trains RL2 on a grid with a hidden goal, shows that it adapts, beside the best that is possible, and"
        " keeps the curves as a picture: two to four minutes. One that was stopped goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="where to (default: runs/demo)")
    given = parser.parse_args(arguments)
    say("the demo: meta-training RL2 on a grid with a hidden goal ...")

    from quickstudy.recipes.demo import show

    return interruptible_status(lambda: show(given.run))


def interruptible_status(run: Callable[[], Any]) -> int:
    """Runs a training; stopping it by Ctrl-C or SIGTERM is no failure, since its state is saved."""
    try:
        run()
    except KeyboardInterrupt:
        pass
    except (QuickstudyError, OSError):
        raise
    except BaseException as error:
        # what training saved it has noted; before that there is only the traceback to see
        if not hasattr(error, "__notes__"):
            raise
        said = " ".join(str(error).split())
        raise QuickstudyError(f"{type(error).__name__}{f': {said}' if said else ''}; {error.__notes__[-1]}") from error
    return 0
