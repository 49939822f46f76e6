"""Families with different spaces as one distribution: a union of one is that family, and each member lives as it does alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from small import TINY

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.cli import main
from quickstudy.protocol import counter
from quickstudy.work import open_work
from quickstudy.work.local import LocalSite

BANDIT = qs.tasks.make("bandit", arms=3, pulls=4)
GRID = qs.tasks.make("grid-navigation", episodes_per_trial=1, max_episode_steps=7)
CART = qs.tasks.make("cart-pole", episodes_per_trial=1, max_episode_steps=9)
BOTH = qs.Union(BANDIT, GRID, CART)
POINT = qs.tasks.make("point-navigation", episodes_per_trial=1, max_episode_steps=5)
SWING = qs.tasks.make("pendulum", episodes_per_trial=1, max_episode_steps=6)
SMOOTH = qs.Union(POINT, SWING)


def trained(name: str, tasks: Any, iterations: int = 2) -> Any:
    entry = ALGORITHMS[name]
    learner = entry.make(tasks, entry.config(**TINY[name]), seed=1)
    work = open_work(learner.tasks)
    for _ in range(iterations):
        learner.train_step(work)
    return learner


@pytest.mark.parametrize("tasks", [BANDIT, GRID, POINT, SWING], ids=repr)
def test_a_union_of_one_is_that_family_bit_for_bit(tasks: Any):
    learners = [trained("rl2", each, 3) for each in (tasks, qs.Union(tasks))]
    assert not differing(learners[0].state_dict(), learners[1].state_dict())
    assert torch.equal(*(qs.evaluate(learner, num_tasks=5).returns for learner in learners))


@pytest.mark.parametrize("name", ["rl2", "varibad", "recurrent-sac", "multi-task", "task-informed"])
@pytest.mark.parametrize("tasks", [BOTH, SMOOTH, qs.Union(CART)], ids=["discrete", "continuous", "one"])
def test_methods_learn_on_unions(name: str, tasks: qs.Union):
    evaluation = qs.evaluate(trained(name, tasks), num_tasks=7)
    assert set(evaluation.families) == (set(tasks.members) if len(tasks.members) > 1 else set())
    assert sum(row["tasks"] for row in evaluation.families.values()) in (0, 7)


@pytest.mark.parametrize("tasks", [BOTH, SMOOTH], ids=["discrete", "continuous"])
def test_a_union_keeps_the_contract_of_task_distributions(tasks: qs.Union):
    report = qs.check_tasks(tasks)
    assert not report.failed, str(report)


def test_shards_have_as_many_of_each_and_splits_are_the_members_own():
    for count in (3, 7, 30):
        drawn = BOTH.sample(count, "train", counter(0, 0, "tasks"))
        sizes = torch.bincount(drawn["family"], minlength=3)
        assert int(sizes.max() - sizes.min()) <= 1
    assert BOTH.splits == "iid" and SMOOTH.splits == "partitioned"
    assert qs.tasks.make("bandit").splits == "partitioned"
    goals = {split: SMOOTH.sample(4000, split, counter(0, 0, split)) for split in ("train", "validation", "test")}
    own = {split: {tuple(row) for row in drawn["point-navigation.goal"].tolist()} for split, drawn in goals.items()}
    assert not own["train"] & own["validation"] and not own["train"] & own["test"]
    firsts = {int(BOTH.sample(1, "train", counter(0, shard, "tasks"))["family"]) for shard in range(20)}
    assert firsts == {0, 1, 2}
    with pytest.raises(qs.UsageError, match="no extrapolation split"):
        BOTH.sample(3, "extrapolation", counter(0, 0, "tasks"))


def test_each_member_is_shown_padded_with_its_number_behind_and_ends_at_its_own_limit():
    assert BOTH.observation_space == spaces.Box(-torch.inf, torch.inf, (25 + 3,))
    assert BOTH.action_space == spaces.Discrete(5) and BOTH.max_episode_steps == 9
    env = LocalSite(BOTH).env(6, 2)
    tasks = BOTH.sample(6, "train", counter(0, 0, "tasks"))
    seen = env.reset(tasks, counter(0, 0, "dynamics"))
    assert seen.shape == (6, 2, 28)
    assert torch.equal(seen[..., 25:].argmax(-1), tasks["family"][:, None].expand(6, 2))
    widths = {0: 1, 1: 25, 2: 4}
    for row, family in zip(seen, tasks["family"].tolist(), strict=True):
        assert not row[:, widths[family] : 25].any()
    ends = torch.zeros(6, 2)
    for step in range(1, 10):
        transition = env.step(torch.full((6, 2), 3))
        ended = transition.terminated | transition.truncated
        ends = torch.where(ended & (ends == 0), float(step), ends)
    assert set(ends[tasks["family"] == 0].flatten().tolist()) == {4.0}
    assert set(ends[tasks["family"] == 1].flatten().tolist()) == {7.0}


def test_a_batch_of_one_members_tasks_steps_as_that_member_does():
    tasks = POINT.sample(4, "train", counter(0, 0, "tasks"))
    told = SMOOTH.sample(4, "train", counter(0, 1, "tasks"))
    told |= {f"point-navigation.{name}": value for name, value in tasks.items()} | {"family": torch.zeros(4).long()}
    alone, within = POINT.make(4, 1), SMOOTH.make(4, 1)
    seen = [env.reset(each, counter(0, 0, "dynamics")) for env, each in ((alone, tasks), (within, told))]
    assert torch.equal(SMOOTH.seen(0, seen[0]), seen[1])
    action = torch.rand(4, 1, 2) * 2 - 1
    own = SMOOTH.taken(0, action)
    steps = alone.step(own), within.step(action)
    assert torch.equal(steps[0].reward, steps[1].reward)
    assert torch.equal(SMOOTH.seen(0, steps[0].arrival), steps[1].arrival)


def test_actions_mean_what_a_member_can_take():
    assert BOTH.taken(0, torch.arange(5)).tolist() == [0, 1, 2, 0, 1]
    assert BOTH.taken(2, torch.arange(5)).tolist() == [0, 1, 0, 1, 0]
    high = float(SWING.action_space.high[0])  # pyright: ignore[reportAttributeAccessIssue]
    assert SMOOTH.taken(1, torch.tensor([0.5, 99.0])).tolist() == [0.5 * high]
    assert BOTH.act("bandit", 3) == 0
    assert BOTH.tell("bandit", 0).tolist() == [1.0] + [0.0] * 24 + [1.0, 0.0, 0.0]
    with pytest.raises(qs.UsageError, match="there is no member 'poker'; its members are bandit, grid-navigation, cart-pole"):
        BOTH.tell("poker", 0)


def test_what_is_told_of_a_task_is_its_own_members():
    tasks = BOTH.sample(9, "train", counter(0, 0, "tasks"))
    row = BOTH.normalise(tasks)
    assert torch.equal(row[:, :3].argmax(-1), tasks["family"])
    own = row[tasks["family"] == 0][:, 3 : 3 + 3]
    assert torch.equal(own, BANDIT.normalise(BOTH.own("bandit", tasks))[tasks["family"] == 0])
    assert not row[tasks["family"] == 0][:, 6:].any()
    assert list(BOTH.parameters)[:2] == ["family", "bandit.means"]


def test_some_members_alone_keep_the_spaces():
    fewer = BOTH.only("cart-pole", "bandit")
    drawn = fewer.sample(6, "train", counter(0, 0, "tasks"))
    assert torch.bincount(drawn["family"], minlength=3).tolist() == [3, 0, 3]
    assert fewer.observation_space == BOTH.observation_space and len(fewer.normalise(drawn)[0]) == len(
        BOTH.normalise(BOTH.sample(1, "train", counter(0, 0, "tasks")))[0]
    )
    learner = trained("rl2", fewer)
    left_out = qs.RL2(BOTH.only("grid-navigation"), learner.config)
    left_out.load_state_dict(learner.state_dict())
    assert set(qs.evaluate(left_out, num_tasks=3).families) == {"grid-navigation"}
    with pytest.raises(qs.UsageError, match="name at least one member, each once"):
        BOTH.only("bandit", "bandit")


def test_members_that_dont_go_together_are_refused():
    grid = qs.tasks.make("grid-navigation")
    with pytest.raises(qs.UsageError, match="as many episodes a trial: 1 of bandit, 4 of grid-navigation; say episodes_per_tr"):
        qs.Union(BANDIT, grid)
    with pytest.raises(qs.UsageError, match="all discrete or all continuous: bandit discrete, point-navigation continuous"):
        qs.Union(BANDIT, POINT)
    with pytest.raises(qs.UsageError, match="at least one member"):
        qs.Union()
    assert list(qs.Union(BANDIT, BANDIT, CART).members) == ["bandit", "bandit-2", "cart-pole"]
    assert list(qs.Union(BANDIT, CART, names=["arms", "cart"]).members) == ["arms", "cart"]


def test_a_run_is_evaluated_family_by_family(tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import quickstudy as qs\n"
        "tasks = qs.Union(qs.tasks.make('bandit', arms=3, pulls=4), qs.tasks.make('cart-pole', episodes_per_trial=1,"
        " max_episode_steps=5))\n"
    )
    run, small = str(tmp_path / "run"), ["--trials", "8", "--minibatches", "1", "--iterations", "2"]
    assert main(["train", "rl2", f"{mine}:tasks", "--run", run, *small]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--tasks", f"{mine}:tasks", "--num-tasks", "9"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if line.lstrip().startswith(("bandit", "cart-pole"))}
    assert sorted(rows) == ["bandit", "cart-pole"] and sum(map(int, rows.values())) == 9
    assert main(["check", f"{mine}:tasks"]) == 0


def test_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "union.md").read_text()
    told: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block.replace("learner, 100)", "learner, 1, quiet=True, evaluate_every=0)"), told)
    assert set(qs.evaluate(told["new"], num_tasks=2).families) == {"grid-navigation"}
