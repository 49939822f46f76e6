"""Oracles from the command line and from Python, behind the same evaluator as every learner."""

from __future__ import annotations

import json

import pytest
import torch
from said import complaint

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.oracles import ORACLES

EVERY = [(name, tasks) for name, entry in ORACLES.items() for tasks in entry.make]


SHORT: dict[str, dict[str, int]] = {
    **{name: {"max_episode_steps": 12} for name in ("cart-pole", "glucose", "pendulum")},
    "traffic-signal": {"max_episode_steps": 24},
}
"""Families of whose episodes a part does."""


@pytest.mark.parametrize(("name", "tasks"), EVERY)
def test_every_oracle_is_evaluated_without_a_run(name: str, tasks: str, capsys: pytest.CaptureFixture[str]):
    short = [word for option, value in SHORT.get(tasks, {}).items() for word in (f"--{option.replace('_', '-')}", str(value))]
    assert main(["evaluate", name, tasks, *short, "--num-tasks", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_tasks"] == 20 and told["algorithm"] == name
    assert ("says" in told) == (name == "bayes-optimal" or (name, tasks) == ("optimal", "bandit"))


@pytest.mark.parametrize(("name", "tasks"), EVERY)
def test_folding_by_episodes_is_living_the_whole_trial(name: str, tasks: str):
    """The evaluator stops at each episode's end and hands the memory on; the same seed gives the same returns again."""
    agent = qs.oracle(name, qs.tasks.make(tasks, **SHORT.get(tasks, {})))
    first, again = (qs.evaluate(agent, num_tasks=30).returns for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(("name", "tasks"), EVERY)
def test_an_oracle_takes_the_likeliest_actions_where_it_is_asked_to(name: str, tasks: str):
    agent = qs.oracle(name, qs.tasks.make(tasks, **SHORT.get(tasks, {})))
    assert torch.isfinite(qs.evaluate(agent, num_tasks=10, greedy=True).returns).all()


def test_options_of_tasks_and_of_the_oracle_stand_side_by_side(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "ucb1", "bandit", "--arms", "3", "--exploration", "0.5", "--num-tasks", "50"]) == 0
    assert "ucb1 on bandit: 50 test tasks" in capsys.readouterr().out


def test_the_optimum_is_said_under_the_table(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "bayes-optimal", "bandit", "--num-tasks", "10"]) == 0
    assert capsys.readouterr().out.endswith("the exact optimum of a trial is 6.660\n")


def test_the_list_names_each_with_what_it_is_for(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "algorithms", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["oracles"]
    assert set(listed) == set(ORACLES) and listed["bayes-optimal"]["for"] == ["bandit", "grid-navigation"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gitins", "bandit"], "did you mean 'gittins'"),
        (["psrl", "bandit"], "psrl is for tabular-mdp"),
        (["bayes-optimal", "bandit", "--pulls", "100"], "more than 400,000"),
        (["bayes-optimal", "grid-navigation", "--size", "9"], "up to size 8"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", *arguments]) != 0
    error = complaint(capsys.readouterr().err)
    assert says in error and error.startswith("error: ")
