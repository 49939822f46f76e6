"""The command line. Names and files are looked up here; what they mean is in the modules below."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise

from quickstudy.errors import QuickstudyError, UsageError, did_you_mean, ending
from quickstudy.printed import say, tell

USAGE = """\
usage: quickstudy COMMAND ...

Meta-reinforcement learning: agents that meta-learn on a distribution of tasks and adapt to a new one in a few episodes.

commands:
  list                         what there is, a line a name (list tasks, algorithms or recipes: only these)
  list NAME                    the options of one, with types and defaults; task parameters with their bounds
  demo                         see an agent learn to adapt, in some minutes
  train ALGORITHM TASKS ...    meta-train; every option of the two: quickstudy train ALGORITHM TASKS --help
  resume RUN                   go on with a run that was stopped
  evaluate RUN                 adapt to held-out tasks and show the return by episode
  compare RUN RUN ...          evaluate runs on the same held-out tasks: which does better, and how surely
  transfer RUN ... TASKS       learn other tasks from a run's policy, as the run adapts, and from nothing
  report RUN                   a run's pictures as one HTML file: adaptation, learning curves, health
  watch RUN                    follow a training in the browser, as it goes
  play RUN                     pick a task in the browser and see the agent adapt to it
  video RUN                    film the episodes of one trial side by side, as mp4 and GIF
  export RUN                   the agent as an ONNX file that goes on adapting without PyTorch
  check TASKS | ALGORITHM      run a task distribution or a learner through its contract, and say what fails
  gap TASKS                    is there anything to adapt to? what knowing the task is worth
  doctor                       versions, devices, threads, and extras with how to install them

TASKS is a registered name, or FILE.py:OBJECT for a task distribution of your own.
ALGORITHM is a registered name, or FILE.py:CLASS for a learner of your own.
RUN is the folder of a run, or of several seeds (train ... --seeds 5).

an example:
  quickstudy train rl2 grid-navigation --iterations 100 --run runs/grid
  quickstudy evaluate runs/grid
"""

COMMANDS = {
    "list": "listing.list_names",
    "demo": "train.demo",
    "train": "train.train",
    "resume": "train.resume",
    "evaluate": "evaluate.evaluate",
    "compare": "compare.compare",
    "transfer": "transfer.transfer",
    "report": "report.report",
    "watch": "live.watch",
    "play": "live.play",
    "video": "video.video",
    "export": "export.export",
    "check": "check.check",
    "gap": "gap.gap",
    "doctor": "doctor.doctor",
}
"""Each command and its function, imported when it is called: `quickstudy --help` must not wait for PyTorch."""


TRACEBACK = "QUICKSTUDY_TRACEBACK"
"""Where this is set, an error that is nobody's message to the user is shown whole."""
NOT_THEIRS = os.path.dirname(os.path.dirname(__file__)), sys.prefix, sys.base_prefix
"""Where no user's own file lies: this package, and what is installed."""


def command(name: str) -> Callable[[list[str]], int]:
    """The function of a command; UsageError for an unknown one."""
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}'; {did_you_mean(name, COMMANDS)}")
    module, function = COMMANDS[name].split(".")
    return getattr(import_module(f"quickstudy.cli.{module}"), function)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 done or saved, 1 something failed, 2 the command was wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        tell(USAGE.rstrip())
        return 0
    if arguments[0] == "--version":
        tell(f"quickstudy {import_module('importlib.metadata').version('quickstudy')}")
        return 0
    let_threads_sleep(arguments)
    run = partial(answered, arguments)
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        from quickstudy.work.ranks import led

        return led(run)
    return run()


def let_threads_sleep(arguments: Sequence[str]) -> None:
    """With `--threads` above 1, has threads that wait for others sleep: spinning costs most of the time on a busy machine.

    It is read when PyTorch is imported. What the user has set in the environment stays.
    """
    asked = [value for word, value in pairwise([*arguments, ""]) if word == "--threads"]
    asked += [word.removeprefix("--threads=") for word in arguments if word.startswith("--threads=")]
    if any(value.isdecimal() and value.lstrip("0") not in ("", "1") for value in asked):
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def answered(arguments: list[str]) -> int:
    """Runs a command; what goes wrong is said in one line."""
    try:
        return command(arguments[0])(arguments[1:])
    except UsageError as error:
        say(f"error: {error}")
        return 2
    except QuickstudyError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # who read what was printed has seen enough; what is left of it goes nowhere, without a word at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        say(f"error: {error.filename or 'a file'}: {error.strerror}")
        return 1
    except (Exception, SystemExit) as error:
        where = place_of(error)
        # --help leaves by SystemExit as well
        if TRACEBACK in os.environ or (isinstance(error, SystemExit) and not where):
            raise
        # somebody's own file, most likely; where it went wrong is for them to see
        again = shlex.join(["quickstudy", *arguments])
        say(f"error: {where}{ending(error)}; its traceback: {TRACEBACK}=1 {again}")
        return 1


def place_of(error: BaseException) -> str:
    """The last line of a user's own file that an error went through, in words; nothing where it went through none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(NOT_THEIRS)]
    found = [frame for frame in frames if frame.filename.endswith(".py") and os.path.isfile(frame.filename)]
    return f"{os.path.relpath(found[-1].filename)}, line {found[-1].lineno}, " if found else ""
