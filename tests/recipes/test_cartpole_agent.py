"""The agent that learns one cart-pole from nothing: its targets, its memory, and what it learns where the answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probes import Survival

from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.errors import UsageError
from quickstudy.families import make
from quickstudy.protocol import counter
from quickstudy.recipes import cartpole_agent, cartpole_comparison
from quickstudy.recipes.cartpole_agent import (
    ActorCritic,
    Batch,
    Config,
    Point,
    ReplayBuffer,
    learn,
    policy_loss,
    value_targets,
)
from quickstudy.recipes.cartpole_comparison import balanced, main, medians, table_line
from quickstudy.recipes.tuned import Tuned
from quickstudy.tasks.native import NativeTasks
from quickstudy.training import train

SMALL = Config(hidden_size=16, batch_size=32, learning_starts=20, eval_freq=40, max_steps=80)


def steps(count: int, terminated: list[bool] | None = None) -> Batch:
    """Made-up transitions whose reward tells their number."""
    numbers = torch.arange(count)
    seen = numbers[:, None].float()
    return Batch(seen, numbers % 2, numbers.float(), seen + 1, torch.tensor(terminated or [False] * count))


def test_targets_end_with_a_fall_and_go_on_past_a_time_limit():
    # a fall, then a step that a time limit cut: stored alike but for `terminated`
    batch = steps(2, [True, False])._replace(reward=torch.tensor([1.0, 1.0]))
    logits = torch.tensor([[0.0, 0.0], [0.0, torch.log(torch.tensor(3.0)).item()]])
    values = torch.tensor([[5.0, 7.0], [2.0, 6.0]])
    # 0.1 x 1; 0.1 x 1 + 0.9 x (1/4 x 2 + 3/4 x 6)
    torch.testing.assert_close(value_targets(batch, logits, values, 0.9), torch.tensor([0.1, 4.6]))


def test_the_policy_loss_is_least_for_the_softmax_of_the_values():
    values = torch.tensor([[0.3, 0.1], [0.0, 0.2]])
    best = values / 0.5
    least = policy_loss(best, values, 0.5)
    torch.testing.assert_close(least, -0.5 * (values / 0.5).logsumexp(-1).mean())
    for shift in (-0.1, 0.1):
        assert policy_loss(best + torch.tensor([shift, 0.0]), values, 0.5) > least


def test_the_replay_buffer_forgets_the_oldest_and_draws_only_what_it_holds():
    buffer, seen = ReplayBuffer(4, features=1), steps(6)
    for number in range(6):
        buffer.add(*(column[number][None, None] for column in seen))
        drawn = buffer.sample(200, counter(0, number, "replay"))
        assert len(buffer) == min(number + 1, 4)
        assert set(drawn.reward.tolist()) == set(range(max(0, number - 3), number + 1))
        # the fields of a step stay together
        torch.testing.assert_close(drawn.arrival[:, 0], drawn.reward + 1)
        torch.testing.assert_close(drawn.action, drawn.reward.long() % 2)


def test_a_stored_successor_is_the_true_one_also_where_an_episode_ended(monkeypatch: pytest.MonkeyPatch):
    stored, add = [], ReplayBuffer.add
    monkeypatch.setattr(ReplayBuffer, "add", lambda buffer, *step: (stored.append(step), add(buffer, *step)))
    tasks = make("cart-pole", max_episode_steps=15)
    task = tasks.sample(1, "test", counter(0, 0, "test tasks"))
    agent = ActorCritic(tasks, SMALL, 0, 0)
    last = list(learn(agent, task, 0, 0))[-1]
    seen, action, _, arrival, terminated = (torch.cat(column)[:, 0] for column in zip(*stored, strict=True))
    expected = tasks.dynamics.transition(seen * agent.reach, action, task, torch.empty(0))
    torch.testing.assert_close(arrival * agent.reach, expected)
    ended = (arrival[:-1] != seen[1:]).any(-1)
    assert len(stored) == 80 and terminated.sum() == last.falls
    assert (ended & terminated[:-1]).any() and (ended & ~terminated[:-1]).any(), "falls and time limits should both occur"


def test_the_values_of_survival_are_those_worked_by_hand():
    tasks = NativeTasks(Survival())
    sizes = {"hidden_size": 16, "batch_size": 64, "learning_starts": 20, "eval_freq": 500, "max_steps": 500}
    config = Config(**sizes, gamma=0.9, learning_rate=5e-3, tau=0.1, ent_coef=0.02, reach=(1.0,))
    agent = ActorCritic(tasks, config, 0, 0)
    (point,) = learn(agent, {"button": torch.ones(1)}, 0, 0)
    assert point.score == 10 and point.steps == 500
    death, life = agent(agent.value, torch.ones(1)).tolist()
    # dying has no future: 0.1 x 1; living has one for ever, though the time limit cuts it at the tenth step:
    # a value near 1, where one that took the limit for an end would be 0.1 / (1 - 0.9 x 0.9) = 0.53
    assert death == pytest.approx(0.1, abs=0.05)
    assert life == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_bits_and_moves_no_global_random_state():
    tasks = make("cart-pole", max_episode_steps=20)
    task, before = tasks.sample(1, "test", counter(0, 0, "test tasks")), torch.get_rng_state()
    agents = [ActorCritic(tasks, SMALL, seed, 0) for seed in (3, 3, 4)]
    curves = [list(learn(agent, task, seed, 0)) for agent, seed in zip(agents, (3, 3, 4), strict=True)]
    same, other = (all(torch.equal(agents[0].value[name], each.value[name]) for name in each.value) for each in agents[1:])
    assert same and not other and curves[0] == curves[1]
    assert [point.steps for point in curves[0]] == [40, 80]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pole_that_was_never_balanced_is_shown_as_more_than_the_limit():
    curve = [Point(250, 9, 30.0), Point(500, 12, 480.0), Point(750, 13, 490.0)]
    assert balanced(curve, 475) == curve[1]
    never = balanced(curve[:1], 475)
    assert medians([curve[0], curve[1], never]).steps == 500
    names = ["0.50", "0.10", "9.80", "10.00", "1.00"]
    line = table_line(names, curve[1], Point(100, 0, 500.0), (1000, 1000))
    assert line.split() == [*names, "500", "12", "100", "0", "5.0"]
    assert table_line(names, never, Point(100, 0, 500.0), (1000, 1000)).split() == [*names, ">", "1,000", "-", "100", "0", "-"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty folder, where meta-training takes a moment."""
    monkeypatch.chdir(tmp_path)
    config = RL2.Config(trials=8, hidden_size=8)
    tasks = make("cart-pole", max_episode_steps=20)
    monkeypatch.setattr(cartpole_comparison, "built", lambda name, seed: Tuned(RL2(tasks, config, seed=seed), 1))


def test_the_recipe_runs_from_end_to_end(tiny: None, capsys: pytest.CaptureFixture[str]):
    options = ["--tasks", "2", "--hidden-size", "8", "--batch-size", "8", "--max-steps", "60", "--eval-freq", "30"]
    main(options)
    lines = capsys.readouterr().out.splitlines()
    assert "until the mean return of 10 episodes is 19" in lines[0]
    assert lines[1].split()[:3] == ["length", "pole_mass", "gravity"] and lines[4].startswith("median")
    assert Path("runs/cartpole-comparison/cartpole_comparison.png").stat().st_size > 10_000
    # with the run it has just made, and the picture elsewhere: the same table
    main([*options, "--run", "runs/cartpole-comparison", "--picture", "elsewhere/curves.png"])
    assert capsys.readouterr().out.splitlines()[:5] == lines[:5]
    assert Path("elsewhere/curves.png").exists()


def test_one_pole_by_itself(capsys: pytest.CaptureFixture[str]):
    cartpole_agent.main(["--hidden-size", "8", "--batch-size", "8", "--max-steps", "60", "--eval-freq", "30"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("length") and [line.split()[0] for line in lines[2:]] == ["30", "60"]


def test_a_run_of_something_else_is_refused(tmp_path: Path):
    train(RL2(make("bandit"), RL2.Config(trials=4, minibatches=1)), 1, tmp_path / "bandit", quiet=True)
    with pytest.raises(UsageError, match="no run of rl2 on cart-pole"):
        main(["--run", str(tmp_path / "bandit")])
