"""What a check found: one line for each clause of a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from quickstudy.errors import QuickstudyError
from quickstudy.ops.tally import begins, count


class Finding(NamedTuple):
    """One clause of a contract, and how it fared."""

    check: str
    passed: bool | None
    """None: it could not be judged."""
    detail: str


class Broken(Exception):
    """A clause does not hold; the message says what was seen and what to do."""


class Unjudged(Exception):
    """A clause could not be judged; the message says why."""


@dataclass(frozen=True)
class Report:
    """Findings on one subject; printing it gives a table."""

    subject: str
    findings: list[Finding]

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [finding.check for finding in self.findings if finding.passed is False]

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"subject": self.subject, "findings": [finding._asdict() for finding in self.findings]}

    def __str__(self) -> str:
        width = max(len(finding.check) for finding in self.findings)
        words = {True: "ok  ", False: "FAIL", None: "-   "}
        lines = [f"{words[found.passed]}  {found.check:<{width}}  {found.detail}" for found in self.findings]
        passed = sum(found.passed is True for found in self.findings)
        unjudged = sum(found.passed is None for found in self.findings)
        summary = f"{passed} passed, {len(self.failed)} failed" + (f", {unjudged} not judged" if unjudged else "")
        return "\n".join([self.subject, *lines, summary])


def judge(name: str, clause: Callable[[], str]) -> Finding:
    """Runs one check: it returns what it saw, or raises Broken or Unjudged; any other error is a failure too."""
    try:
        return Finding(name, True, clause())
    except Broken as broken:
        return Finding(name, False, str(broken))
    except Unjudged as unjudged:
        return Finding(name, None, str(unjudged))
    except QuickstudyError as error:
        return Finding(name, False, str(error))
    except Exception as error:
        return Finding(name, False, f"raised {type(error).__name__}: {error}")


def judged(clauses: Mapping[str, Callable[[], str]]) -> list[Finding]:
    """Runs checks by name, one after another."""
    begins("checking", len(clauses), "checks")
    findings = []
    for name, clause in clauses.items():
        findings.append(judge(name, clause))
        count({"checks": 1.0})
    return findings
