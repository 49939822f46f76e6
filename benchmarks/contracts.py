"""Writes docs/checks.md: planted faults and the checks that find them. `python benchmarks/contracts.py`"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from check.test_learners import CONFIG, FAULTS, OddConfig, Unwritable  # noqa: E402  # pyright: ignore[reportMissingImports]
from classics import CLASSICS  # noqa: E402  # pyright: ignore[reportMissingImports]
from planted import PLANTED  # noqa: E402  # pyright: ignore[reportMissingImports]

from quickstudy import tasks  # noqa: E402
from quickstudy.check.learner import check_learner  # noqa: E402
from quickstudy.check.report import Report  # noqa: E402
from quickstudy.check.tasks import check_tasks  # noqa: E402

HEAD = """# What `quickstudy check` finds

Written by `python benchmarks/contracts.py`. Each row is a task distribution, or a learner, with one fault; the same rows are
tests (`tests/check/`). A check that another one makes meaningless is not judged, and says so.
"""


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def found(report: Report, check: str) -> str:
    """What a check said, cut to a readable length."""
    detail = next(finding.detail for finding in report.findings if finding.check == check)
    return detail if len(detail) <= 160 else detail[:157] + "..."


def main() -> None:
    """Runs every planted fault and every sound distribution, and writes the page."""
    warnings.simplefilter("ignore")
    lines, missed = [HEAD, "## Faults planted in tasks", "", row("fault", "found by", "message"), row("---", "---", "---")], 0
    for planted in PLANTED:
        report = check_tasks(planted.build())
        missed += planted.check not in report.failed
        lines.append(row(planted.fault, ", ".join(report.failed), found(report, planted.check)))
        print(lines[-1])
    lines += ["", "## Faults planted in learners", "", row("fault", "found by", "message"), row("---", "---", "---")]
    for check, learner in FAULTS:
        report = check_learner(learner, OddConfig(trials=8) if learner is Unwritable else CONFIG)
        missed += check not in report.failed
        lines.append(row(learner.__name__, ", ".join(report.failed), found(report, check)))
        print(lines[-1])
    lines += ["", "## Sound ones", "", row("tasks", "failed", "not judged"), row("---", "---", "---")]
    short = {name: {"max_episode_steps": 20} for name in tasks.FAMILIES if name.startswith("metaworld")}
    sound = {name: tasks.make(name, **short.get(name, {})) for name in tasks.FAMILIES}
    sound |= {name: build() for name, build in CLASSICS.items()}
    alarms = 0
    for name, distribution in sound.items():
        report = check_tasks(distribution)
        alarms += bool(report.failed)
        unjudged = [finding.check for finding in report.findings if finding.passed is None]
        lines.append(row(name, ", ".join(report.failed) or "none", ", ".join(unjudged) or "none"))
        print(lines[-1])
    total = len(PLANTED) + len(FAULTS)
    lines += ["", f"{total - missed} of {total} faults found, {alarms} false alarms on {len(sound)} sound distributions."]
    (ROOT / "docs" / "checks.md").write_text("\n".join(lines) + "\n")
    print(lines[-1])


if __name__ == "__main__":
    main()
