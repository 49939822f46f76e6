"""Mistakes in the words of a command: each gets one line that says what, where and what to type, on every command alike."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from said import complaint

from quickstudy.cli import main
from quickstudy.cli.options import read_fields
from quickstudy.cli.own import load_algorithm
from quickstudy.cli.words import Parser, read
from quickstudy.errors import UsageError

OWN = """
from dataclasses import dataclass, field
from typing import Literal

import quickstudy as qs


@dataclass(frozen=True)
class Settings(qs.RL2.Config):
    sizes: tuple[int, ...] = (3, 4)
    \"\"\"Sizes of something.\"\"\"
    bound: float | None = None
    mode: Literal["fast", "slow"] | None = None
    table: dict[str, int] = field(default_factory=dict)


class Own(qs.RL2):
    name = "own"
    Config = Settings


tasks = qs.GymnasiumTasks("CartPole-v1", max_episode_steps=20, length=qs.Uniform(0.25, 1.0))
"""
PROGRAMS = [
    "train rl2 grid-navigation",
    "train maml cart-pole",
    "train pearl point-navigation",
    "train varibad half-cheetah-velocity",
    "train rl2 metaworld-ml1",
    "train rl2 mine.py:tasks",
    "train mine.py:Own bandit",
    "evaluate random bandit",
    "evaluate gittins bandit",
    "evaluate random mine.py:tasks",
    "evaluate runs/a",
    "compare runs/a runs/b",
    "report runs/a",
    "video runs/a",
    "video random bandit",
    "play runs/a",
    "play random bandit",
    "watch runs/a",
    "resume runs/a",
    "check rl2",
    "check bandit",
    "list",
    "list rl2",
    "doctor",
]
NUMBERS = {
    "train": "seed",
    "evaluate": "num-tasks",
    "compare": "num-tasks",
    "report": "num-tasks",
    "video": "task",
    "play": "episodes",
    "watch": "port",
    "check": "seed",
}
"""An option of each command that takes a whole number."""


def said(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command draws."""
    assert main(shlex.split(line)) == 2, line
    output = capsys.readouterr()
    line = complaint(output.err)
    assert output.out == "" and line.startswith("error: "), output
    return line.removeprefix("error: ")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    Path("runs/a").mkdir(parents=True)
    Path("runs/robot").mkdir()
    Path("runs/robot/config.toml").touch()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_mistake_draws_one_line_that_says_what_and_where_and_what_to_type(program: str, capsys: pytest.CaptureFixture[str]):
    command = program.split()[0]
    for wrong, says in (
        ("--nonsense 3", "has no option '--nonsense'"),
        ("--nonsense=3", "has no option '--nonsense'"),
        ("-q", "has no option '-q'"),
    ):
        line = said(f"{program} {wrong}", capsys)
        assert line.startswith(command) and says in line and "see: quickstudy " in line
    if command in NUMBERS:
        option = NUMBERS[command]
        for wrong, says in (
            (f"--{option} many", f"--{option} 'many' must be a whole number"),
            (f"--{option}=1.5", f"--{option} '1.5' must be a whole number"),
            (f"--{option} {'9' * 5000}", f"--{option} '999"),
            (f"--{option}", f"--{option} needs a value"),
            (f"--{option[:-1]}x 3", f"did you mean '--{option}'?"),
        ):
            line = said(f"{program} {wrong}", capsys)
            assert line.startswith(command) and says in line and "see: quickstudy " in line and len(line) < 250
    if command not in ("compare", "list"):
        option = f"--{NUMBERS[command]} 1" if command in NUMBERS else ""
        assert "has no use for the word 'stray'" in said(f"{program} {option} stray", capsys)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "train rl2 bandit --memory gruu",
            "train rl2 bandit: --memory 'gruu' must be one of 'gru', 'lstm', 'gru-norm'; did you mean 'gru'?"
            " see: quickstudy train rl2 bandit --help",
        ),
        (
            "train rl2 bandit --trails 3",
            "train rl2 bandit has no option '--trails'; did you mean '--trials'? see: quickstudy train rl2 bandit --help",
        ),
        ("train rl2 bandit --rnu x", "did you mean '--run'?"),
        ("train rl2 bandit --learning-rate nan", "--learning-rate 'nan' must be a finite number"),
        ("train rl2 bandit --learning-rate 1e999", "--learning-rate '1e999' must be a finite number"),
        ("train rl2 bandit --layer-norm=yes", "takes no value, so not 'yes'"),
        ("train rl2 bandit --layer-norm yes", "has no use for the word 'yes'"),
        ("train rl2 bandit --trials 3 -5", "has no option '-5'"),
        ("train rl2 bandit --threads '\x1b[2J'", "--threads '\\x1b[2J' must be a whole number"),
        ("train rl2 bandit --\x1b[2J 3", "train rl2 bandit has no option '--\\x1b[2J'"),
        ("train rl2 bandit --seeds 0", "train: --seeds '0' must be at least 1; see: quickstudy train --help"),
        ("train random bandit", "random needs no training: quickstudy evaluate random bandit"),
        ("train gittins 'my tasks.py:x'", "gittins needs no training: quickstudy evaluate gittins 'my tasks.py:x'"),
        ("train bandit rl2", "ALGORITHM stands before TASKS: quickstudy train rl2 bandit"),
        ("train rl2 maml", "'maml' names an algorithm, not tasks"),
        ("train mine.py:Own bandit --sizes 1 x", "--sizes 'x' must be a whole number"),
        ("train mine.py:Own bandit --bound x", "--bound 'x' must be a finite number or None"),
        ("train mine.py:Own bandit --mode fsat", "--mode 'fsat' must be one of 'fast', 'slow' or None; did you mean 'fast'?"),
        ("train mine.py:Own bandit --table 3", "has no option '--table'"),
        ("train maml cart-pole --inner-rate -1e-3", "maml: inner_rate is -0.001, it must be at least 0"),
        ("train rl2 cart-pole --hidden_size 0", "rl2: hidden_size is 0, it must be at least 1"),
        ("evaluate rl2 bandit", "rl2 is trained first: quickstudy train rl2 bandit"),
        ("evaluate random bandit --amrs 3", "did you mean '--arms'? see: quickstudy list bandit, quickstudy evaluate --help"),
        ("evaluate random bandit --split tset", "evaluate: --split 'tset' must be one of 'train', 'validation', 'test'"),
        ("evaluate gittins bandit --gamma x", "evaluate gittins bandit: --gamma 'x' must be a finite number or None"),
        ("evaluate runs/a --deadline 0", "--deadline '0' must be above 0"),
        ("watch runs/a --port 70000", "watch: --port 70000 is no port: 1 to 65535"),
        ("video runs/a --fps x", "video: --fps 'x' must be a finite number"),
        ("video runs/a --width 3", "video: --width 3 pixels are not from 160 to 7680"),
        ("evaluate", "evaluate: it needs RUN; see: quickstudy evaluate --help"),
        ("check", "check: it needs TASKS|ALGORITHM; see: quickstudy check --help"),
        ("evaluate runs/b", "runs/b is no run: it has no config.toml"),
        ("evaluate runs/robt", "runs/robt is no run: it has no config.toml; did you mean 'runs/robot'?"),
        ("compare runs/robot robot", "robot is no run: it has no config.toml"),
        ("list rl22", "there is no 'rl22'; did you mean 'rl2'? All names: quickstudy list"),
        ("list rl2 maml", "list has no use for the word 'maml'"),
        ("maml bandit", "unknown command 'maml'; known: "),
    ],
)
def test_mistakes_get_these_lines(line: str, says: str, capsys: pytest.CaptureFixture[str]):
    assert says in said(line, capsys)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-3", -3),
        (float, "-1e-3", -1e-3),
        (float, "3", 3.0),
        (float | None, "None", None),
        (float | None, "0.5", 0.5),
        (int | str, "2", 2),
        (str | int, "2", 2),
        (int | str, "ray:2", "ray:2"),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (bool | None, "True", True),
        (str | None, "None", None),
    ],
)
def test_a_word_is_read_as_its_type_says(kind: Any, text: str, value: Any):
    found = read(kind, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"), [(int, "1.0"), (int, ""), (float, "inf"), (float, "x"), (Literal[1, 2], "3"), (float | None, "none")]
)
def test_a_word_of_another_type_is_refused(kind: Any, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="must be"):
        read(kind, text)


def test_options_are_read_in_every_spelling():
    parser = Parser(prog="quickstudy try")
    parser.add_argument("--inner-rate", type=float)
    for words in (["--inner-rate", "-1e-3"], ["--inner_rate", "-0.001"], ["--inner_rate=-1e-3"]):
        assert parser.parse_args(words).inner_rate == -1e-3
    with pytest.raises(UsageError, match=r"^try has no option '--inner'"):
        parser.parse_args(["--inner", "3"])


def test_a_learner_of_ones_own_has_its_options_of_plain_types(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["train", "mine.py:Own", "bandit", "--help"])
    shown = capsys.readouterr().out
    assert "--sizes [INT ...]" in shown and "Sizes of something. (default: (3, 4))" in shown and "--table" not in shown
    assert "--mode {fast,slow}|None" in shown and "--trials INT" in shown and "What an arm" not in shown
    settings = load_algorithm("mine.py:Own").Config(trials=7, table={"a": 1})
    words = "--sizes -5 6 --mode slow --bound -2 --hidden-size 8".split()
    found = read_fields("quickstudy train", {"algorithm": settings}, words)()["algorithm"]
    assert found == replace(settings, sizes=(-5, 6), mode="slow", bound=-2.0, hidden_size=8) and found.table == {"a": 1}
