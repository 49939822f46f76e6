"""What is shown of work that takes long: at once, in eight figures, with the time left, and how far it is."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_training import rows

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.display import Display, duration, following, key_figures
from quickstudy.evaluation import evaluate
from quickstudy.recipes.demo import PICTURE
from quickstudy.runs.config import Training

ROW = {
    **{
        "time/total_timesteps": 3e6,
        "time/fps": 1e4,
        "time/memory_mb": 9e2,
        "rollout/ep_rew_mean": 1.5,
        "rollout/ep_len_mean": 9.0,
    },
    **{f"adapt/episode_{number}/return_mean": float(number) for number in range(1, 13)},
    **{f"train/{name}": 0.1 for name in ("loss", "entropy", "approx_kl", "value", "belief_std", "grad_norm", "clip_fraction")},
}


class Terminal(io.StringIO):
    """Stderr as a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns and 24 lines."""
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def lines_of(screen: Terminal) -> list[str]:
    """What was drawn, without what moves the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").splitlines()


@pytest.mark.parametrize(
    ("budget", "far"),
    [
        ({"iterations": 200}, "2/200"),
        ({"steps": 10**10}, "3,000,000/10,000,000,000 steps"),
        ({"iterations": 10**6, "steps": 10**7}, "3,000,000/10,000,000 steps"),
    ],
)
def test_eight_figures_and_the_time_left_fit_a_small_terminal(
    budget: dict[str, Any], far: str, monkeypatch: pytest.MonkeyPatch
):
    terminal = open_terminal(monkeypatch)
    scores = {f"validation/episode_{number}/return_mean": 2.0 for number in (1, 2)}
    with Display(f"rl2 on {'a-long-name' * 9}", Training(**budget), 0, 0, quiet=False) as display:
        display.show(1, ROW | scores)
        display.show(2, ROW)
    lines = lines_of(terminal)
    last = lines[-next(back for back in range(1, 30) if "left" in lines[-back]) :]
    assert re.search(rf"{far} +0:00:\d\d +left \d+:\d\d:\d\d", last[0]) and len(last[0]) <= 80
    named = [line.split("│")[1].strip() for line in last if "│" in line]
    assert len(named) == 8 and {"adapt/episode_1/return_mean", "adapt/episode_12/return_mean"} <= set(named)
    assert "validation/episode_2/return_mean" in named, "scores stay until there are newer ones"
    assert not any("…" in line or "..." in line or "-:--" in line or len(line) > 80 for line in lines)


def test_key_figures_are_the_first_eight_of_a_list():
    assert list(key_figures(ROW)) == [
        *("adapt/episode_1/return_mean", "adapt/episode_12/return_mean", "rollout/ep_rew_mean", "time/fps"),
        *("time/total_timesteps", "train/approx_kl", "train/entropy", "train/loss"),
    ]
    assert key_figures({"time/fps": 1.0}) == {"time/fps": 1.0}


def test_seconds_in_words():
    assert [duration(seconds) for seconds in (0, 59.2, 3600, 1e6)] == ["0:00:00", "0:01:00", "1:00:00", "277:46:40"]


def test_elsewhere_there_are_lines_at_once_and_at_the_end(capsys: pytest.CaptureFixture[str]):
    with Display("rl2 on bandit", Training(steps=10**6, iterations=3), 0, 0, quiet=False) as display:
        assert capsys.readouterr().err == "rl2 on bandit: 3 meta-iterations or 1,000,000 environment steps ...\n"
        for iteration in (1, 2, 3):
            display.show(iteration, ROW | {"time/total_timesteps": 1000 * iteration})
    first, last = capsys.readouterr().err.splitlines()
    assert "iteration 1/3  steps 1,000/1,000,000  ep_rew_mean 1.50  fps 10,000  left 0:00:0" in first
    assert "iteration 3/3" in last and last.endswith("left 0:00:00")


def test_an_evaluation_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    terminal = open_terminal(monkeypatch)
    learner = qs.RL2(qs.tasks.make("bandit", pulls=2), qs.RL2.Config(hidden_size=4))
    with following("evaluating something"):
        evaluate(learner, num_tasks=9, episodes=3)
    assert "evaluating something ..." in (lines := lines_of(terminal))[0]
    assert any("rl2 on 9 test tasks" in line for line in lines) and any("/27 episodes" in line for line in lines)
    evaluate(learner, num_tasks=9)
    assert lines_of(terminal) == lines, "nobody asked"


def test_elsewhere_an_evaluation_says_so_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("quickstudy.display.SECONDS_PER_LINE", -1.0)
    with following("evaluating something"):
        evaluate(qs.RL2(qs.tasks.make("bandit", pulls=2), qs.RL2.Config(hidden_size=4)), num_tasks=9, episodes=3, workers=0)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating something ...",
        *(f"rl2 on 9 test tasks: {done} of 27 episodes" for done in (9, 18, 27)),
    ]


def test_commands_say_what_they_do_before_they_import_pytorch(tmp_path: Path):
    script = """
import os, sys
from pathlib import Path
os.environ["QUICKSTUDY_TRACEBACK"] = "1"
for run in ("run", "other"):
    Path(run).mkdir()
    Path(run, "config.toml").touch()
sys.modules["torch"] = None  # to import it fails
from quickstudy.cli import main
for command in ("evaluate run", "report run", "compare run other", "video run", "check bandit", "resume run", "demo"):
    try:
        main(command.split())
    except ImportError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    said = done.stderr.splitlines()
    assert said == [
        *("evaluating run ...", "reporting on run ...", "comparing run, other ...", "filming run ...", "checking bandit ..."),
        *("going on with run ...", "the demo: meta-training RL2 on a grid with a hidden goal ..."),
    ]


@pytest.mark.slow
def test_a_killed_demo_is_finished_by_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import functools

    from quickstudy.recipes import demo

    run = tmp_path / "demo"
    script = "import sys; from pathlib import Path; from quickstudy.recipes.demo import show; show(Path(sys.argv[1]), 2, 9)"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demonstration:
        while demonstration.poll() is None and not (run.exists() and (run / "metrics.jsonl").exists() and rows(run)):
            pass
        demonstration.kill()
    assert not (run / PICTURE).exists()
    monkeypatch.setattr(demo, "finish", functools.partial(demo.finish, num_tasks=9))
    assert main(["resume", str(run)]) == 0
    assert rows(run) == 2 and (run / PICTURE).exists()
    out = capsys.readouterr().out
    assert all(name in out for name in ("RL2, memory wiped", "Bayes-optimal", "random", f"the curve as a picture: {run}"))
    assert main(["resume", str(run)]) == 0
    assert "is finished" in (again := capsys.readouterr()).err and not again.out
