"""Signals stop a training where nothing is half done."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_training import fingerprint, rows

import quickstudy as qs
from quickstudy.runs.checkpoint import load_latest
from quickstudy.runs.folder import Run
from quickstudy.runs.stops import SIGNALS, stoppable

OPTIONS: dict[str, Any] = {"checkpoint_every": 3, "evaluate_every": 0, "threads": 1, "quiet": True}


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_held_is_finished_before_a_signal_stops_it(number: signal.Signals):
    before, done = [signal.getsignal(each) for each in SIGNALS], []
    with pytest.raises(KeyboardInterrupt), stoppable() as stops:
        with stops.held():
            os.kill(os.getpid(), number)
            done.append("held")
            assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2, "a second one ends the process"
        done.append("after")
    assert done == ["held"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_elsewhere_a_signal_stops_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), stoppable() as stops:
        with stops.held():
            done.append("held")
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("after")
    assert done == ["held"]


@pytest.mark.parametrize("where", ["log", "save", "log_timing"])
def test_a_signal_in_the_middle_of_writing_loses_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def learner() -> qs.RL2:
        return qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=8, hidden_size=8), seed=2)

    write, run, whole = getattr(Run, where), tmp_path / "run", tmp_path / "whole"

    def signalled(self: Run, *given: Any) -> Any:
        if rows(run) == 3:
            monkeypatch.setattr(Run, where, write)
            os.kill(os.getpid(), signal.SIGTERM)
        return write(self, *given)

    monkeypatch.setattr(Run, where, signalled)
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner(), 6, run, **OPTIONS)
    assert load_latest(run)[0]["iteration"] == rows(run) in (3, 4)
    qs.resume(run, quiet=True)
    qs.train(learner(), 6, whole, **OPTIONS)
    assert fingerprint(run) == fingerprint(whole)
    assert (run / "timing.jsonl").read_bytes().count(b"\n") == 6
