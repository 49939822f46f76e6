"""`quickstudy export`."""

from __future__ import annotations

import shlex
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from quickstudy.cli.evaluate import open_folder
from quickstudy.cli.options import (
    add_own_algorithm,
    add_own_tasks,
    file_name,
    name_next,
    positive,
    require_run,
)
from quickstudy.cli.own import load_algorithm, load_tasks
from quickstudy.cli.words import Parser
from quickstudy.display import following
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell

EXAMPLES = """\
examples:
  quickstudy export runs/grid                             # into runs/grid/agent.onnx
  quickstudy export runs/point -o robot.onnx              # MAML: robot.onnx, and robot.adapt.onnx beside it

then, where there is no PyTorch (pip install 'quickstudy[runtime]'):
  from quickstudy import runtime
  session = runtime.load("agent.onnx").session(seed=0)    # greedy=True: the most likely actions
  action = session.act(observation)
  session.feedback(reward, terminated, truncated, observation)
  session.new_task()                                      # another patient, market, robot ...

The graph is one step: percept and memory in; the parameters of the action's distribution, the greedy action, the value and the
memory out, for any number of lanes. Where adapting is a gradient step the weights are inputs too, and the second file makes
new ones of what was lived. What else there is to know (spaces, first memory, what an episode's end does) is JSON in the file's
metadata: docs/export.md.
Methods that plan, PEARL, RL3, and observations that are images, sounds or texts can't be exported; one line says so.
"""


def export(arguments: list[str]) -> int:
    """`quickstudy export`."""
    parser = Parser(
        prog="quickstudy export",
        description="Writes a run's agent as ONNX, adaptation included: ONNX Runtime and NumPy then carry it. The graphs are"
        " held against the agent before they are written.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("-o", "--output", type=file_name, metavar="FILE.onnx", help="where to (default: RUN/agent.onnx)")
    parser.add_argument(
        "--horizon",
        type=positive,
        metavar="N",
        help="steps of an episode that adapting by gradient has room for (default: the time limit of the tasks)",
    )
    parser.add_argument("--licence", default="", metavar="TEXT", help="the licence of the weights, to be told in the file")
    add_own_tasks(parser)
    add_own_algorithm(parser)
    given = parser.parse_args(arguments)
    require_run(given.run)
    if given.output and given.output.suffix != ".onnx":
        raise UsageError(f"{given.output} is no name for an exported agent; name it FILE.onnx")

    with following(f"exporting {given.run}"):
        from quickstudy.exporting.files import export as exported
        from quickstudy.work import threads

        tasks = load_tasks(given.tasks) if given.tasks else None
        algorithm = load_algorithm(given.algorithm) if given.algorithm else None
        runs = open_folder(given.run, tasks, algorithm, "cpu", "export")
        if len(runs) > 1:
            first = shlex.quote(f"{given.run}/seed-{runs[0].config.training.seed}")
            raise UsageError(f"{given.run} holds a run for each of several seeds; take one: {parser.prog} {first}")
        [run] = runs
        about = {"sha256": run.config.identity, "iteration": run.progress.iteration, "timesteps": run.progress.timesteps}
        with threads(1):
            found = exported(
                run.learner,
                given.output or Path(given.run) / "agent.onnx",
                horizon=given.horizon,
                licence=given.licence,
                run=about,
            )
    for path, size in zip(found.paths, found.sizes, strict=True):
        tell(f"{path}  {size / 1024:.1f} KiB")
    say(f"on random steps its numbers are within {found.departure:.0e} of the agent's own")
    name_next("evaluate", given.run, flags=run.config.own_flags)
    return 0
