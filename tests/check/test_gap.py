"""What knowing the task is worth: closed forms where there is something to know, nothing, or less than nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Generator, Tensor

import quickstudy as qs
from quickstudy.check.gap import Gap
from quickstudy.cli import main
from quickstudy.errors import UsageError
from quickstudy.oracles import ORACLES, PRACTITIONERS, practitioner
from quickstudy.oracles.agent import Oracle
from quickstudy.protocol import Act, Memory, Percept, Tasks
from quickstudy.tasks.parameters import Choice, Parameter, Uniform
from quickstudy.tasks.told import Told


@dataclass(frozen=True, kw_only=True)
class Guessing:
    """Two doors, one of which pays 1: which is `door`, and it matters `weight` of the time; else the first one pays.

    Some tasks pay more than others, whatever is done, by up to `offset` a step.
    """

    weight: float = 1.0
    offset: float = 0.0
    max_episode_steps: int = 4
    episodes_per_trial: int = 1
    initial_noise = 0
    step_noise = 0
    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"door": Choice(0, 1), "noise": Uniform(0.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 1)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        matters = self.weight * (action == task["door"]).float()
        return matters + (1 - self.weight) * (action == 0).float() + self.offset * task["noise"]

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Rule:
    """Opens the first door, or the one it is told; the other one where it is `wrong`."""

    told: Told | None = None
    wrong: bool = False

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        door = torch.zeros(percept.first.shape, dtype=torch.long)
        if self.told:
            door = self.told.parted(percept.observation)[1]["door"].long()
        return Act(1 - door if self.wrong else door, None, {}), memory


def measured(weight: float, wrong: bool = False, num_tasks: int = 400, offset: float = 0.0) -> Gap:
    tasks = qs.NativeTasks(Guessing(weight=weight, offset=offset))
    told = Told(tasks)
    agents = Oracle("first", tasks, Rule()), Oracle("told", told, Rule(told, wrong))
    return qs.gap(tasks, population=agents[0], told=agents[1], num_tasks=num_tasks)


def test_where_all_is_hidden_the_population_is_worth_nothing() -> None:
    found = measured(1.0)
    # random and the first door both pay half of the time, of four steps
    assert found.told.trials.mean() == 4.0
    assert found.share == pytest.approx(1.0, abs=0.1) and found.verdict == "a gap"
    low, high = found.interval or (0.0, 0.0)
    assert low < 1.0 < high


def test_the_interval_of_the_share_holds_the_truth() -> None:
    shares = []
    for seed in range(40):
        tasks = qs.NativeTasks(Guessing(weight=0.7))
        told = Told(tasks)
        agents = Oracle("first", tasks, Rule()), Oracle("told", told, Rule(told))
        found = qs.gap(tasks, population=agents[0], told=agents[1], num_tasks=60, seed=seed)
        shares.append(found.interval)
    # told gets .7 + .3 / 2 = .85 of a step, the first door .7 / 2 + .3 = .65, chance .5: .2 / .35
    held = np.mean([low <= 0.2 / 0.35 <= high for low, high in shares])
    assert held >= 0.85


def test_what_all_agents_share_on_a_task_widens_no_interval() -> None:
    narrow, wide = (measured(0.7, offset=offset).interval for offset in (0.0, 100.0))
    assert wide == pytest.approx(narrow, abs=1e-3)


def test_where_the_population_knows_enough_there_is_no_gap() -> None:
    # the first door gets .3 / 2 + .7, who opens the door it is told .3 + .7 / 2: less
    found = measured(0.3)
    assert found.verdict == "no gap" and (found.share or 0.0) < 0


def test_few_tasks_decide_nothing() -> None:
    # .6 + .4 / 2 against .6 / 2 + .4, chance .5: a third
    assert measured(0.6, num_tasks=12).verdict == "undecided"


def test_a_told_rule_that_is_worse_than_chance_says_nothing() -> None:
    found = measured(1.0, wrong=True)
    assert found.share is None and found.interval is None and found.verdict == "nothing learnt"
    assert "the rule is wrong" in found.says and found.as_json()["share"] is None


def test_one_agent_alone_is_refused() -> None:
    tasks = qs.NativeTasks(Guessing())
    with pytest.raises(UsageError, match="both population and told"):
        qs.gap(tasks, population=Oracle("first", tasks, Rule()))


def test_without_a_rule_two_policies_are_trained() -> None:
    tasks = qs.NativeTasks(Guessing())
    settings: Mapping[str, Any] = {"hidden_size": 8, "n_envs": 64, "learning_rate": 5e-2}
    found = qs.gap(tasks, steps=5_000, settings=settings, num_tasks=300)
    assert found.trained_steps == 5_000 and found.verdict == "a gap"
    assert (found.population.algorithm, found.told.algorithm) == ("multi-task", "task-informed")


def test_the_command_tells_it_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gap", "bandit", "--pulls", "3", "--steps", "200", "--num-tasks", "5"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "task-informed" in said.out and "next: quickstudy train rl2 bandit" in said.err
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [agent["who"] for agent in told["agents"]] == ["random", "population", "told"]
    assert told["num_tasks"] == 5 and told["trained_steps"] == 200


@pytest.mark.parametrize(
    "words", [["gap"], ["gap", "bandits"], ["gap", "bandit", "--arm", "x"], ["gap", "bandit", "--steps", "0"]]
)
def test_wrong_words_get_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("family", list(PRACTITIONERS))
def test_every_practitioner_takes_both_settings(family: str) -> None:
    tasks = qs.tasks.make(family)
    for settings in ("population", "told"):
        found = practitioner(tasks, settings)  # type: ignore[arg-type]
        assert found is not None and found.name in ORACLES
