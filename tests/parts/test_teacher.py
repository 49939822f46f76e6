"""A teacher that is told the task and a student that isn't: what imitating reaches, and what it can't."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import fingerprint

import quickstudy as qs
from quickstudy.check.learner import differing
from quickstudy.cli import main
from quickstudy.data.rollout import draw_tasks
from quickstudy.parts.collecting import collected_trials, shards_of
from quickstudy.parts.teacher import Teacher, drawn_tasks, imitation
from quickstudy.work import open_work
from quickstudy.work.local import LocalSite

TASKS = qs.tasks.make("bandit", arms=3, pulls=3)
TINY: dict[str, Any] = {"trials": 8, "hidden_size": 8, "n_epochs": 1, "minibatches": 1}
QUIET: dict[str, Any] = {"quiet": True, "evaluate_every": 0}


def informed(tasks: Any = TASKS, seed: int = 3) -> qs.MultiTask:
    """An untrained teacher whose actions depend on what it is told all the same."""
    learner = qs.MultiTask(qs.Informed(tasks), qs.MultiTask.Config(hidden_size=8), seed=seed)
    last = [name for name in learner.weights if name.startswith("policy") and name.endswith("weight")][-1]
    with torch.no_grad():
        learner.weights[last].mul_(300)
    return learner


def student(tasks: Any = TASKS, **options: Any) -> qs.RL2:
    told: dict[str, Any] = {**TINY, "teacher": "teacher", **options}
    return qs.RL2(tasks, qs.RL2.Config(**told), seed=1)


def trained(learner: qs.RL2, iterations: int) -> dict[str, float]:
    work, row = open_work(learner.tasks), {}
    for _ in range(iterations):
        row = learner.train_step(work)
    return row


def test_a_teacher_of_no_weight_is_rl2_bit_for_bit():
    alone, taught = qs.RL2(TASKS, qs.RL2.Config(**TINY), seed=1), student(imitate=0.0)
    taught.learn_from(informed())
    rows = [trained(learner, 3) for learner in (alone, taught)]
    assert rows[0] == rows[1]
    assert not differing(alone.state_dict(), {name: part for name, part in taught.state_dict().items() if name != "teacher"})
    heard = student(imitate_iterations=2)
    heard.learn_from(informed())
    assert trained(heard, 1)["train/teacher_kl"] > 0.1
    trained(heard, 1)
    # it has fallen to nothing: nobody is asked any more
    assert "train/teacher_kl" not in trained(heard, 1)


def test_what_imitating_weighs_falls_to_nothing():
    config = qs.RL2.Config(imitate=2.0, imitate_iterations=4)
    assert [imitation(config, iteration) for iteration in (0, 1, 2, 4, 9)] == [2.0, 1.5, 1.0, 0.0, 0.0]
    assert imitation(replace(config, imitate_iterations=0), 99) == 2.0


@pytest.mark.parametrize("shards", [1, 2])
def test_the_tasks_of_trials_are_told_again_by_their_counters(shards: int):
    learner = student(shards=shards)
    site = LocalSite(TASKS)
    lived = [draw_tasks(site, shard)["means"] for shard in shards_of(learner, 8)]
    assert torch.equal(drawn_tasks(learner, 8)["means"], torch.cat(lived))


def test_the_teacher_is_asked_at_what_the_student_saw_with_the_task_told():
    tasks = qs.tasks.make("grid-navigation")
    agent, learner = informed(tasks), student(tasks)
    teacher = Teacher(agent, tasks, learner.distribution)
    experience, drawn = collected_trials(open_work(tasks), learner, learner.explorer(), 8), drawn_tasks(learner, 8)
    told = teacher.told(experience, drawn)
    one = {name: value[5:6] for name, value in drawn.items()}
    for time in (0, 7):
        seen = qs.Informed(tasks).tell(int(experience.percept.observation[5, 0, time]), one)
        torch.testing.assert_close(told[5, 0, time], agent.explorer()(seen)[0].detach())


def test_who_sees_the_task_comes_to_do_what_the_teacher_does():
    """The KL reaches 0, so that the cross-entropy is the teacher's entropy."""
    told = qs.Informed(TASKS)
    learner = student(told, trials=64, hidden_size=32, imitate=10.0, imitate_iterations=0, minibatches=4, n_epochs=4)
    learner.learn_from(informed(told))
    first = trained(learner, 1)["train/teacher_kl"]
    assert trained(learner, 39)["train/teacher_kl"] < 0.01 * max(1.0, first)


def test_who_is_told_nothing_does_at_first_what_teachers_do_on_average():
    """What imitating can't teach: before anything is seen the best student is the mixture of its teachers.

    The least KL is then H(mean) - mean H, how much the teacher's first action tells of the task.
    """
    tasks = qs.tasks.make("bandit", arms=3, pulls=1)
    learner = student(tasks, trials=256, imitate=10.0, imitate_iterations=0, learning_rate=1e-2)
    learner.learn_from(agent := informed(tasks))
    row = trained(learner, 80)
    drawn = tasks.sample(4096, "train", torch.Generator().manual_seed(0))
    teacher = Teacher(agent, tasks, learner.distribution)
    seen = torch.zeros(4096, 1, dtype=torch.long)
    probs = teacher.policy(teacher.tasks.told(seen, drawn))[0][:, 0].softmax(-1).detach()
    entropy = -(probs * probs.log()).sum(-1).mean()
    mean = probs.mean(0)
    least = float(-(mean * mean.log()).sum() - entropy)
    assert least > 0.05
    assert row["train/teacher_kl"] == pytest.approx(least, abs=0.03)


@pytest.fixture
def teachers(tmp_path: Path) -> Path:
    qs.train(informed(), 1, tmp_path / "teacher", **QUIET)
    return tmp_path / "teacher"


def test_a_stopped_student_is_the_one_that_never_stopped_and_needs_its_teacher(teachers: Path, tmp_path: Path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder, iterations in ((whole, 5), (run, 2)):
        qs.train(student(teacher=str(teachers), imitate_iterations=4), iterations, folder, **QUIET)
    qs.resume(run, iterations=5, quiet=True)
    assert fingerprint(run) == fingerprint(whole)
    assert str(teachers) in (run / "config.toml").read_text()
    assert qs.load(run).state_dict()["teacher"] == Teacher(qs.load(teachers), TASKS, student().distribution).sha256
    kept = teachers.with_name("kept")
    shutil.copytree(teachers, kept)
    qs.resume(teachers, iterations=2, quiet=True)
    with pytest.raises(qs.UsageError, match=r"teacher .*: rl2: the teacher in .* isn't the one that it had: its weights"):
        qs.resume(run, iterations=6, quiet=True)
    shutil.rmtree(teachers)
    with pytest.raises(qs.UsageError, match=r"teacher .* is no run: it has no config.toml"):
        qs.resume(run, iterations=6, quiet=True)
    # to act it needs none
    assert qs.evaluate(qs.load(run), num_tasks=2).returns.shape == (2, 1)
    kept.rename(teachers)
    qs.resume(run, iterations=6, quiet=True)


def test_on_the_command_line(teachers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [
        "train",
        "rl2",
        "bandit",
        "--arms",
        "3",
        "--pulls",
        "3",
        "--trials",
        "8",
        "--minibatches",
        "1",
        "--iterations",
        "2",
    ]
    assert main([*words, "--teacher", str(teachers), "--run", str(tmp_path / "run")]) == 0
    assert main([*words, "--teacher", str(tmp_path / "none"), "--run", str(tmp_path / "other")]) != 0
    assert "none is no run" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_who_is_no_teacher_is_refused(teachers: Path, tmp_path: Path):
    learner = student()
    with pytest.raises(qs.UsageError, match=r"it has no teacher yet: learn_from"):
        trained(learner, 1)
    with pytest.raises(qs.UsageError, match=r"a teacher is one policy that is told the task, .* and no multi-task"):
        learner.learn_from(qs.MultiTask(TASKS))
    with pytest.raises(qs.UsageError, match="observation_space is"):
        learner.learn_from(informed(qs.tasks.make("bandit", arms=2, pulls=3)))
    with pytest.raises(qs.UsageError, match="draws actions from a DiagonalGaussian, its student from a StateDependentGaussian"):
        points = qs.tasks.make("point-navigation")
        student(points, noise="state-dependent").learn_from(informed(points))
    normalised = qs.Normalised(
        student(qs.tasks.make("point-navigation"), teacher=str(teachers)), qs.Normalisation(normalise_observation=True)
    )
    with pytest.raises(qs.UsageError, match="reads observations as they are"):
        qs.train(normalised, 1, **QUIET)
