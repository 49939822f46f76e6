"""`quickstudy report`."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from quickstudy.cli.compare import refuse_twice, tasks_of, trained_on
from quickstudy.cli.evaluate import add_trial_options, open_folder, options_of
from quickstudy.cli.options import add_own_algorithm, file_name, name_next, require_run
from quickstudy.cli.own import load_algorithm, load_tasks
from quickstudy.cli.words import Parser
from quickstudy.display import following
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell

EXAMPLES = """\
examples:
  quickstudy report runs/grid                              # into runs/grid/report.html
  quickstudy report runs/grid --informed runs/grid-told    # beside a policy that is told the task
  quickstudy report runs/five -o five.html                 # a folder of seeds

The page needs no network and no server: open the file, print it, or send it by mail.
"""


def report(arguments: list[str]) -> int:
    """`quickstudy report`."""
    parser = Parser(
        prog="quickstudy report",
        description="Evaluates a run and writes its pictures as one HTML file: return by episode on held-out tasks, beside"
        " chance and beside the same agent without adaptation, where the agent goes, what it believes and what moved its"
        " decisions, learning curves, the health of the training.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run or of seeds")
    add_trial_options(parser)
    parser.add_argument("--informed", metavar="RUN", help="a run, on the same tasks, of a policy that is told the task")
    parser.add_argument("-o", "--output", type=file_name, metavar="FILE.html", help="where to (default: RUN/report.html)")
    add_own_algorithm(parser)
    given = parser.parse_args(arguments)
    require_run(given.run)

    if given.informed:
        refuse_twice([given.run, given.informed])

    with following(f"reporting on {given.run}"):
        from quickstudy.report.contents import contents
        from quickstudy.report.page import page
        from quickstudy.storage import write_atomically
        from quickstudy.work import threads

        tasks = load_tasks(given.tasks) if given.tasks else None
        algorithm = load_algorithm(given.algorithm) if given.algorithm else None
        runs = open_folder(given.run, tasks, algorithm, given.device, "report")
        informed = open_informed(given.informed, runs, tasks, given.device) if given.informed else []
        with threads(1):
            content = page(contents(Path(given.run), runs, informed, options=options_of(given)))
    path = given.output or Path(given.run) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    tell(f"{path}  {len(content.encode()) / 1e6:.2f} MB")
    one = given.run if len(runs) == 1 else f"{given.run}/seed-{runs[0].config.training.seed}"
    say("open it in a browser; it needs no network")
    name_next("play", one, flags=runs[0].config.own_flags)
    return 0


def open_informed(folder: str, runs: list[Any], tasks: Any, device: str | None) -> list[Any]:
    """The runs of a policy that is told the task; UsageError where it isn't, or was trained on others than the runs."""
    informed = open_folder(folder, tasks, None, device, "report")
    ours, theirs = runs[0].config, informed[0].config
    if theirs.algorithm != "task-informed":
        raise UsageError(f"{folder} was trained with {theirs.algorithm}; --informed takes a run of task-informed")
    if tasks_of(ours) != tasks_of(theirs):
        raise UsageError(f"{folder} was trained on {trained_on(theirs)}, the run on {trained_on(ours)}; take the same tasks")
    return informed
