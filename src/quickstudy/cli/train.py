"""`quickstudy train` and `quickstudy resume`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.bounds import beyond
from quickstudy.cli.options import (
    add_own_algorithm,
    add_own_tasks,
    add_places,
    make_tasks,
    name_next,
    natural,
    one_of,
    part,
    positive,
    read_fields,
    require_run,
)
from quickstudy.cli.own import is_own, load_algorithm, load_tasks
from quickstudy.cli.recipes import add_tuned, chosen, say_tuned, tuned_parts
from quickstudy.cli.words import Parser
from quickstudy.errors import QuickstudyError, UsageError, in_a_line
from quickstudy.index import entry, sections_of
from quickstudy.printed import say, tell

TRAIN_USAGE = """\
usage: quickstudy train ALGORITHM TASKS [--iterations N] [--steps N] [--seed S] [--seeds N] [--run DIR]
                        [--config FILE.toml] [--tuned [RECIPE]] [--device D] [--KEY VALUE ...]

Meta-trains and keeps everything in the folder DIR (default: runs/ALGORITHM-TASKS-seedS).
--steps N ends with the meta-iteration in which so many environment steps are taken; with --iterations, whichever is first.
--seeds N trains N times, one after the other, from the seeds S, S + 1 ...; each is a run of its own, DIR/seed-S ...
--keep-best keeps the checkpoint that did best on validation tasks, --patience N ends where N evaluations brought no better one.
--config reads options from a file such as a run's own config.toml, which may also name ALGORITHM and TASKS; options here win.
--tuned takes settings known to work for these, and says which; options here win. Those there are: quickstudy list recipes
ALGORITHM is a registered name or FILE.py:CLASS, TASKS a registered name or FILE.py:OBJECT.
Every option of an algorithm and of its tasks, with its meaning and default:

  quickstudy train rl2 grid-navigation --help

Names: quickstudy list
"""


def train(arguments: list[str]) -> int:
    """`quickstudy train`: names first, then options made of the fields of configuration classes."""
    names, words = [], list(arguments)
    while words and not words[0].startswith("-"):
        names.append(words.pop(0))
    if (words[:1] in (["-h"], ["--help"]) and len(names) < 2) or not arguments:
        tell(TRAIN_USAGE.rstrip())
        return 0
    parser = Parser(prog="quickstudy train", add_help=False)
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="options, such as a run's own config.toml")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the folder of the run (default: runs/ALGORITHM-TASKS-seedS)")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="runs, from the seeds S, S + 1 ... (default: 1)")
    add_tuned(parser)
    given, rest = parser.parse_known_args(words)
    if limit := beyond("seeds", given.seeds):
        raise UsageError(f"train: seeds is {given.seeds}, it must be {limit}")
    stored = config_in(given.config)
    algorithm, tasks = named(names, stored, given.config)
    own_learner = load_algorithm(algorithm) if is_own(algorithm) else None
    parts = parts_of(algorithm, tasks, stored, own_learner)
    program = shlex.join(["quickstudy", "train", algorithm, tasks])
    recipe = None if given.tuned is None else chosen(given, algorithm, tasks, parts, rest)
    parts = tuned_parts(recipe, parts) if recipe else parts
    read = read_fields(program, parts, rest, parser)
    command = shlex.join(["quickstudy", "train", *names, *words])
    say(f"training {algorithm} on {tasks} ...")
    options = read()
    if recipe:
        say_tuned(recipe, parts, options)

    from quickstudy.algorithms import algorithm as registered
    from quickstudy.arguments import require_room
    from quickstudy.footprint import to_build
    from quickstudy.runs import warn_of_machine
    from quickstudy.runs.config import MACHINE, config_of, machine_of, normalised, require_memory
    from quickstudy.runs.folder import free_folder
    from quickstudy.runs.seeds import create_seeds
    from quickstudy.tasks.repeated import with_repeat
    from quickstudy.tasks.shifted import with_shift
    from quickstudy.training import begin, resolve, train_seeds

    make_learner = own_learner or registered(algorithm).make
    own_tasks = load_tasks(tasks) if is_own(tasks) else None
    training = resolve(options["training"])
    if stored:
        asked = stored.elsewhere(MACHINE, machine_of(training))
        # of tasks that have workers themselves, the option of the same name is theirs
        theirs = hasattr(options.get("tasks"), "workers")
        warn_of_machine({f"training_{name}" if theirs and name == "workers" else name: asked[name] for name in asked}, command)
    distribution = with_shift(own_tasks or make_tasks(tasks, options["tasks"]), training.shift)
    distribution = with_repeat(distribution, training.repeat)
    require_room(algorithm, to_build(distribution, options["algorithm"]), training.device)
    learner = make_learner(distribution, options["algorithm"], seed=training.seed, device=training.device)
    learner = normalised(learner, options["normalisation"])
    config = config_of(learner, training, tasks, algorithm)
    require_memory(learner, training)
    seeds = list(range(training.seed, training.seed + given.seeds))
    called = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    run = given.run or free_folder(Path("runs") / f"{stem(algorithm)}-{stem(tasks)}-{called}")

    def work() -> None:
        if len(seeds) == 1:
            begin(learner, config, run, command, quiet=False)
        else:
            create_seeds(run, config, seeds, command)
            train_seeds(run, own_tasks, make_learner if config.own_algorithm else None, **machine_of(training))
        best = " --checkpoint best" if training.keep_best else ""
        say(f"saved in {run}; see how it adapts to held-out tasks: {config.command('evaluate', run)}{best}")

    return interruptible_status(work)


def named(names: list[str], stored: Any, config: Path | None) -> tuple[str, str]:
    """ALGORITHM and TASKS, from the command line or else from a stored configuration."""
    if stored and len(names) < 2:
        if stored.own_algorithm and not names:
            raise UsageError(
                f"{config} is for an algorithm of your own ({stored.algorithm}), which no stored run may import;"
                f" name it: quickstudy train FILE.py:CLASS {shlex.join([stored.tasks, '--config', str(config)])}"
            )
        if stored.task_options is None:
            file = shlex.quote(str(config))
            raise UsageError(
                f"{config} is for tasks of your own ({stored.tasks}), which no stored run may import;"
                f" name them: quickstudy train {shlex.quote(stored.algorithm)} FILE.py:OBJECT --config {file}"
            )
        names = [*(names or [stored.algorithm]), stored.tasks]
    if len(names) != 2:
        raise UsageError(
            f"train takes two names, ALGORITHM and TASKS, not {len(names)} ({' '.join(names)}); see: quickstudy train --help"
        )
    algorithm, tasks = names
    require_names(algorithm, tasks)
    if stored:
        same_algorithm = stored.own_algorithm if is_own(algorithm) else algorithm == stored.algorithm
        if not same_algorithm or not (is_own(tasks) or tasks == stored.tasks):
            raise UsageError(f"{config} is for {stored.algorithm} on {stored.tasks}, not {algorithm} on {tasks}")
    return algorithm, tasks


def require_names(algorithm: str, tasks: str) -> None:
    """Raises UsageError where one of the names is no algorithm's, or no family's; files of one's own may be what they are."""
    if {"baselines", "oracles"} & set(sections_of(algorithm)):
        raise UsageError(f"{algorithm} needs no training: quickstudy evaluate {shlex.join([algorithm, tasks])}")
    if "tasks" in sections_of(algorithm) and "algorithms" in sections_of(tasks):
        raise UsageError(f"ALGORITHM stands before TASKS: quickstudy train {tasks} {algorithm}")
    for name, section in ((algorithm, "algorithms"), (tasks, "tasks")):
        if not is_own(name):
            entry(section, name)


def parts_of(algorithm: str, tasks: str, stored: Any, own_learner: Any) -> dict[str, Any]:
    """What can be told, part by part, with the values of a stored configuration or else those of the classes as defaults."""
    if own_learner:
        from quickstudy.arguments import config_class, fill

        kind = config_class(own_learner)
        learner = fill(kind, stored.algorithm_options, f"[algorithm] {algorithm}") if stored else kind()
    else:
        learner = stored.algorithm_options if stored else part("algorithms", algorithm)
    parts = {"algorithm": learner}
    if not is_own(tasks):
        parts["tasks"] = stored.task_options if stored else part("tasks", tasks)
    if stored:
        return parts | {"normalisation": stored.normalisation, "training": stored.training}
    return parts | {"normalisation": part("normalisation"), "training": part("training")}


def config_in(path: Path | None) -> Any:
    """The configuration in a file, if one was named."""
    if path is None:
        return None
    from quickstudy.runs.config import read_config

    return read_config(path)


def stem(name: str) -> str:
    """A registered name, or a user's file without folder and suffix."""
    return Path(name.split(":")[0]).stem


def resume(arguments: list[str]) -> int:
    """`quickstudy resume`."""
    parser = Parser(
        prog="quickstudy resume",
        description="Goes on with a stopped run, or with the runs of a folder of seeds, to the end of its budget, or of another"
        " one, which may go beyond what a finished run has done.",
        epilog="Nothing that belongs to the machine is taken from the folder: workers, device, threads ... are given again.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or of seeds")
    parser.add_argument("--iterations", type=positive, metavar="N", help="another budget: meta-iterations in all")
    parser.add_argument("--steps", type=positive, metavar="N", help="another budget: environment steps in all")
    parser.add_argument(
        "--patience", type=natural, metavar="N", help="evaluations without a better score after which it ends; 0: it goes on"
    )
    add_own_tasks(parser)
    add_own_algorithm(parser)
    add_places(parser, None, None)
    parser.add_argument("--attempts", type=positive, metavar="N", help="failures of one unit of work that stop the run (3)")
    parser.add_argument("--device", metavar="D", help="where tensors live: cpu, cuda, cuda:1 ... (default cpu)")
    parser.add_argument(
        "--threads", type=natural, metavar="N", help="of the update (default 1); another number may change bits"
    )
    parser.add_argument(
        "--log",
        type=one_of("tensorboard", "wandb", "mlflow"),
        metavar="{tensorboard,wandb,mlflow}",
        help="where metrics go besides (tensorboard)",
    )
    parser.add_argument("--profile", type=natural, metavar="N", help="meta-iterations of which a profile is made (0)")
    given = parser.parse_args(arguments)
    require_run(given.run)
    say(f"going on with {given.run} ...")

    from quickstudy.recipes.demo import finish, is_unfinished
    from quickstudy.runs.config import ENDS, MACHINE
    from quickstudy.runs.folder import stored_config
    from quickstudy.runs.seeds import holds_seeds
    from quickstudy.training import resume as resume_run
    from quickstudy.training import train_seeds

    tasks = load_tasks(given.tasks) if given.tasks else None
    algorithm = load_algorithm(given.algorithm) if given.algorithm else None
    config = stored_config(given.run).told(tasks, algorithm)
    config.require_own(given.run, tasks, algorithm)
    go_on = train_seeds if holds_seeds(given.run) else resume_run

    here = {name: getattr(given, name) for name in MACHINE if getattr(given, name) is not None}
    ends = {name: getattr(given, name) for name in ENDS}

    def work() -> None:
        go_on(given.run, tasks, algorithm, **ends, **here)
        name_next("evaluate", str(given.run), flags=config.own_flags)
        if is_unfinished(given.run):
            finish(given.run)

    return interruptible_status(work)


def demo(arguments: list[str]) -> int:
    """`quickstudy demo`."""
    parser = Parser(
        prog="quickstudy demo",
        description="Meta-trains RL2 on a grid with a hidden goal, shows that it adapts, beside the best that is possible, and"
        " keeps the curves as a picture: two to four minutes. One that was stopped goes on.",
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
        raise QuickstudyError(f"{in_a_line(error)}; {error.__notes__[-1]}") from error
    return 0
