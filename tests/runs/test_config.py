"""Configurations go to TOML and back, and every wrong key is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import takes

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.errors import UsageError
from quickstudy.families import FAMILIES
from quickstudy.runs.config import Training, config_of, read_config

GOOD = """
[algorithm]
name = "rl2"
trials = 32

[tasks]
name = "bandit"
arms = 3

[training]
iterations = 4
"""


def takes_long(algorithm: str, family: str) -> bool:
    """Whether tasks are drawn when the learner is made, of families whose goals dozens of simulators are asked for.

    Or whether rooms are built to ask one what it shows, for which two algorithms are enough.
    """
    if family == "minigrid":
        return algorithm not in ("rl2", "pearl")
    return algorithm in ("multi-task-sac", "pearl", "task-informed") and family in ("metaworld-ml10", "metaworld-ml45")


@pytest.mark.parametrize(
    ("algorithm", "family"),
    [
        pytest.param(algorithm, family, marks=pytest.mark.slow if takes_long(algorithm, family) else ())
        for family in sorted(FAMILIES)
        for algorithm in sorted(ALGORITHMS)
    ],
)
def test_a_configuration_survives_its_file_and_builds_the_same_learner(algorithm: str, family: str, tmp_path: Path):
    tasks = qs.tasks.make(family)
    if not takes(algorithm, tasks):
        with pytest.raises(qs.UsageError, match=r"observations and actions must be Discrete|predicts vectors"):
            ALGORITHMS[algorithm].make(tasks)
        return
    learner = ALGORITHMS[algorithm].make(tasks, seed=3)
    config = config_of(learner, Training(seed=3, threads=1))
    (tmp_path / "config.toml").write_text(config.write())
    again = read_config(tmp_path / "config.toml")
    assert again == config
    assert config_of(again.build_learner(), again.training) == config


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_names_of_options_never_collide(algorithm: str, family: str):
    """But for `workers`, which Meta-World's families and MiniGrid have too: the run's is `--training-workers` there."""
    from dataclasses import fields

    sources = (ALGORITHMS[algorithm].config, FAMILIES[family].options, Training)
    names = [field.name for source in sources for field in fields(source)]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == ({"workers"} if family.startswith(("metaworld", "minigrid")) else set())
    assert not {"run", "seeds", "config", "help"} & set(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("trials = 32", "trails = 32"), r"\[algorithm\] has no key 'trails'; did you mean 'trials'"),
        (GOOD.replace("trials = 32", 'trials = "many"'), r"\[algorithm\] trials = 'many' must be a whole number"),
        (GOOD.replace("trials = 32", "trials = true"), r"trials = True must be a whole number"),
        (GOOD.replace("trials = 32", "trials = 32.5"), r"trials = 32.5 must be a whole number"),
        (GOOD.replace("trials = 32", 'memory = "rnn"'), r"memory = 'rnn' must be one of 'gru', 'lstm', 'gru-norm'"),
        (GOOD.replace("trials = 32", "gamma = 2"), r"gamma \(2.0\) must be in \(0, 1\]"),
        (GOOD.replace('"rl2"', '"rl22"'), r"unknown algorithm 'rl22'; did you mean 'rl2'"),
        (GOOD.replace('"bandit"', '"bandits"'), r"unknown tasks 'bandits'; did you mean 'bandit'"),
        (GOOD.replace("arms = 3", "arms = 1"), r"arms is 1, it must be at least 2"),
        (GOOD.replace("iterations = 4", "iterations = 0"), r"iterations is 0, it must be at least 1"),
        (GOOD.replace("[training]", "[trainings]"), r"no section \[trainings\]; did you mean 'training'"),
        (GOOD.replace('name = "bandit"', ""), r"\[tasks\] needs name"),
        (GOOD.replace('name = "bandit"', "name = 3"), r"\[tasks\] needs name"),
        (GOOD.replace("[tasks]", "[tasks"), r"is not TOML"),
        ("tasks = 3", r"needs a section \[algorithm\]"),
        ("", r"needs a section \[algorithm\]"),
        ("\x00\x01", r"is not TOML"),
        ("a = " + "[" * 5000, r"is not TOML"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config(path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", "--config", str(path), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_good_file_is_read(tmp_path: Path):
    (tmp_path / "config.toml").write_text(GOOD)
    config = read_config(tmp_path / "config.toml")
    assert (config.algorithm, config.algorithm_options.trials, config.task_options.arms) == ("rl2", 32, 3)


def test_a_class_of_ones_own_that_inherits_a_registered_name_is_ones_own():
    class Mine(qs.RL2):
        pass

    learner = Mine(qs.tasks.make("bandit"))
    assert config_of(learner, Training(), None, "mine.py:Mine").own_algorithm
    assert not config_of(qs.RL2(qs.tasks.make("bandit")), Training(), None, "rl2").own_algorithm


def test_a_checkpoint_belongs_to_one_configuration_and_says_what_was_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    learner = qs.RL2(qs.tasks.make("bandit", pulls=5), qs.RL2.Config(trials=8, hidden_size=8), seed=3)
    qs.train(learner, 1, tmp_path / "run", evaluate_every=0, threads=1, quiet=True)
    path = tmp_path / "run" / "config.toml"
    sound = path.read_text()
    changes = {
        "seed = 3": ("seed = 4", "[training] seed is 4, it was 3"),
        "pulls = 5": ("pulls = 6", "[tasks] pulls is 6, it was 5"),
        "gae_lambda = 0.95": ("gae_lambda = 0.9", "[algorithm] gae_lambda is 0.9, it was 0.95"),
        "normalise_reward = false": ("normalise_reward = true", "[normalisation] normalise_reward is True, it was False"),
    }
    for old, (new, says) in changes.items():
        assert old in sound
        path.write_text(sound.replace(old, new))
        assert main(["resume", str(tmp_path / "run")]) == 1
        assert says in capsys.readouterr().err
    # budget, cadence and machine may be otherwise
    for old, new in {"\niterations = 1": "\niterations = 2", "checkpoint_every = 10": "checkpoint_every = 1"}.items():
        assert old in sound
        sound = sound.replace(old, new)
    path.write_text(sound)
    assert main(["resume", str(tmp_path / "run")]) == 0


def test_the_identity_of_a_configuration_of_earlier_names_is_that_of_todays(tmp_path: Path):
    old = '[algorithm]\nname = "multi-task-sac"\nmeta_batch_size = 8\ntarget_rate = 0.01\n\n[tasks]\nname = "bandit"\n'
    new = 'format = 3\n[algorithm]\nname = "multi-task-sac"\nn_envs = 8\ntau = 0.01\n\n[tasks]\nname = "bandit"\n'
    for name, text in (("old", old), ("new", new), ("other", new.replace("8", "4"))):
        (tmp_path / f"{name}.toml").write_text(text)
    one, two, other = (read_config(tmp_path / f"{name}.toml") for name in ("old", "new", "other"))
    assert one.identity == two.identity != other.identity


def test_what_a_checkpoint_recorded_is_read_by_todays_names_and_defaults(tmp_path: Path):
    learner = qs.MultiTaskSAC(qs.tasks.make("bandit"), qs.MultiTaskSAC.Config(n_envs=8))
    config = config_of(learner, Training())
    then = config.recorded["learnt"]
    options = {"meta_batch_size" if name == "n_envs" else name: value for name, value in then["algorithm"].items()}
    del options["gamma"]  # a setting that was not there yet has its default
    older = {"format": 2, "identity": "another", "learnt": then | {"algorithm": options}}
    config.require_same(tmp_path / "checkpoints" / "1", older)
    with pytest.raises(qs.QuickstudyError, match=r"\[algorithm\] n_envs is 8, it was 9; set that back"):
        config.require_same(
            tmp_path / "checkpoints" / "1", older | {"learnt": then | {"algorithm": options | {"meta_batch_size": 9}}}
        )
    for wrong in (3, [], {}, {"learnt": 3}, {"learnt": {"algorithm": 3}}):
        with pytest.raises(ValueError, match="can't be read"):
            config.require_same(tmp_path / "checkpoints" / "1", wrong)
