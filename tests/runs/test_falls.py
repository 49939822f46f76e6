"""A run says at its end that its return fell, names the checkpoint of before, and the report tells the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.report.contents import falls
from quickstudy.runs.course import RETURN, returns_of

TASKS = qs.tasks.make("bandit", pulls=2)
RETURNS = [*range(1, 11), *[10.0] * 5, *[2.0] * 5]
"""Of the meta-iterations of a training: up, and down again."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """RL2 whose returns are those."""
    step = qs.RL2.train_step

    def train_step(self: Any, work: Any) -> Any:
        metrics = step(self, work)
        return {**metrics, RETURN: float(RETURNS[self.iteration - 1])}

    monkeypatch.setattr(qs.RL2, "train_step", train_step)


def learner() -> qs.RL2:
    return qs.RL2(TASKS, qs.RL2.Config(trials=4, hidden_size=4, n_epochs=1, minibatches=1))


@pytest.mark.usefixtures("told")
def test_a_run_that_fell_says_so_and_its_best_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    qs.train(learner(), 12, run, checkpoint_every=2, evaluate_every=0)
    assert "fell" not in capsys.readouterr().err
    # what came before it was resumed counts
    qs.resume(run, iterations=len(RETURNS))
    said = capsys.readouterr().err
    assert "the return fell from 10 (meta-iteration 11) to 2; of what is kept" in said and "iteration=10)" in said
    assert falls([run], [7]) == [{"iteration": 11, "best": 10, "last": 2, "seed": 7}]
    assert list(returns_of(run).values()) == RETURNS
    again = learner()
    qs.train(again, 10, quiet=True, evaluate_every=0)
    kept = qs.load(run, iteration=10).state_dict()["weights"]
    assert all(torch.equal(kept[name], value) for name, value in again.state_dict()["weights"].items())
    with pytest.raises(qs.UsageError, match="keeps no checkpoint of meta-iteration 11"):
        qs.load(run, iteration=11)


@pytest.mark.usefixtures("told")
def test_a_training_without_a_folder_says_so_and_a_quiet_one_is_quiet(capsys: pytest.CaptureFixture[str]):
    for quiet in (False, True):
        qs.train(learner(), len(RETURNS), quiet=quiet, evaluate_every=0)
        assert ("the return fell from 10" in capsys.readouterr().err) is not quiet


def test_lines_that_are_no_rows_are_passed_over(tmp_path: Path):
    lines = [f'{{"iteration": 1, "{RETURN}": 2.5}}', "[]", "{", f'{{"iteration": 2, "{RETURN}": NaN}}', '{"iteration": 3}']
    lines.append(f'{{"iteration": 4, "{RETURN}": 1{"0" * 400}}}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert returns_of(tmp_path) == {1: 2.5}
