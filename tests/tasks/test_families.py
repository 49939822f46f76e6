"""Torch-native families against Gymnasium and against facts worked out by hand."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from probes import HiddenSide

import quickstudy as qs
from quickstudy import families
from quickstudy.errors import UsageError
from quickstudy.families.classic.bandit import Bandit
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.families.classic.frozen_lake import FrozenLake, Holes, passable
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.families.classic.mountain_car import MountainCar, MountainCarContinuous
from quickstudy.families.classic.pendulum import Pendulum
from quickstudy.families.classic.point_navigation import PointNavigation
from quickstudy.families.classic.tabular_mdp import TabularMDP
from quickstudy.protocol import counter
from quickstudy.tasks.informed import Informed
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import Choice, Normal, Uniform

GYMNASIUM_DEFAULTS = {"length": 0.5, "pole_mass": 0.1, "gravity": 9.8, "force": 10.0, "direction": 1.0}


def test_cart_pole_is_gymnasiums_step_for_step():
    ours, theirs = CartPole(), gymnasium.make("CartPole-v1")
    task = {name: torch.tensor(value, dtype=torch.float64) for name, value in GYMNASIUM_DEFAULTS.items()}
    generator = np.random.default_rng(0)
    steps = 0
    for seed in range(6):
        observation, _ = theirs.reset(seed=seed)
        state = torch.tensor(theirs.unwrapped.state, dtype=torch.float64)
        ended = False
        while not ended:
            # a controller that mostly balances, so that some episodes reach the time limit
            action = int(observation[2] + 0.5 * observation[3] > 0) if seed % 2 else int(generator.integers(2))
            observation, reward, terminated, truncated, _ = theirs.step(action)
            noise = torch.zeros(0)
            arrival = ours.transition(state, torch.tensor(action), task, noise)
            np.testing.assert_allclose(ours.observation(arrival, task).numpy(), theirs.unwrapped.state, atol=1e-6, rtol=0)
            assert ours.reward(state, torch.tensor(action), arrival, task, noise).item() == reward
            assert ours.terminal(arrival, task).item() == terminated
            state, ended, steps = arrival, terminated or truncated, steps + 1
    assert steps > 1000
    assert ours.max_episode_steps == theirs.spec.max_episode_steps
    assert np.array_equal(ours.observation_space.high, theirs.observation_space.high)


@pytest.mark.parametrize(
    ("name", "dynamics", "task"),
    [
        ("Pendulum-v1", Pendulum(), {"gravity": 10.0, "mass": 1.0, "length": 1.0}),
        ("MountainCarContinuous-v0", MountainCarContinuous(max_episode_steps=999), {"power": 0.0015, "goal": 0.45}),
        ("MountainCar-v0", MountainCar(), {"force": 0.001, "gravity": 0.0025}),
    ],
)
def test_classic_control_is_gymnasiums_step_for_step(name: str, dynamics: Any, task: dict[str, float]):
    theirs = gymnasium.make(name)
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in task.items()}
    generator = np.random.default_rng(0)
    assert dynamics.max_episode_steps == theirs.spec.max_episode_steps
    assert np.array_equal(dynamics.observation_space.high, theirs.observation_space.high)
    for seed in range(6):
        observation, _ = theirs.reset(seed=seed)
        state, ended = torch.tensor(np.array(theirs.unwrapped.state), dtype=torch.float64), False
        while not ended:
            push = float(observation[-1] > 0) * 2  # with the motion: it climbs the hill and swings up
            action = int(push) if name == "MountainCar-v0" else np.array([2 * push - 2 + generator.normal()])
            observation, reward, terminated, truncated, _ = theirs.step(action)
            arrival = dynamics.transition(state, torch.as_tensor(action), tensors, torch.zeros(0))
            expected = torch.as_tensor(observation, dtype=torch.float64)
            torch.testing.assert_close(dynamics.observation(arrival, tensors), expected, atol=1e-6, rtol=0)
            assert abs(float(dynamics.reward(state, torch.as_tensor(action), arrival, tensors, torch.zeros(0))) - reward) < 1e-6
            assert bool(dynamics.terminal(arrival, tensors)) == terminated
            state, ended = arrival, terminated or truncated
        assert name == "Pendulum-v1" or terminated
    low, high = (dynamics.initial(tensors, torch.full((2,), share)).tolist() for share in (0.0, 1.0))
    assert (low, high) == (
        (pytest.approx([-0.6, 0]), pytest.approx([-0.4, 0]))
        if name != "Pendulum-v1"
        else (pytest.approx([-np.pi, -1]), pytest.approx([np.pi, 1]))
    )


def test_a_tabular_mdp_moves_and_pays_as_its_tables_say():
    tasks = families.make("tabular-mdp", states=3, actions=2)
    drawn = tasks.sample(2, "train", counter(0, 0, "tasks"))
    torch.testing.assert_close(drawn["transitions"].sum(-1), torch.ones(2, 3, 2))
    mdp, lanes = TabularMDP(states=3, actions=2), 60_000
    task = {name: value[:, None] for name, value in drawn.items()}
    noise = torch.rand(2, lanes, 2, generator=counter(0, 0, "noise"))
    for state in range(3):
        for action in range(2):
            here, act = torch.full((2, lanes), state), torch.full((2, lanes), action)
            arrival = mdp.transition(here, act, task, noise)
            frequencies = torch.stack([(arrival == reached).float().mean(1) for reached in range(3)], -1)
            torch.testing.assert_close(frequencies, drawn["transitions"][:, state, action], atol=0.01, rtol=0)
            reward = mdp.reward(here, act, arrival, task, noise)
            torch.testing.assert_close(reward.mean(1), drawn["rewards"][:, state, action], atol=0.02, rtol=0)
            torch.testing.assert_close(reward.std(1), torch.ones(2), atol=0.02, rtol=0)


def test_random_play_of_a_tabular_mdp_earns_about_one_a_step():
    """The RL2 paper's table 2: 100.1 over ten episodes."""
    evaluation = qs.evaluate(qs.Random(families.make("tabular-mdp")), num_tasks=4000)
    assert abs(float(evaluation.returns.sum(1).mean()) - 100) < 1.5


@pytest.mark.parametrize("layout", ["square", "half-circle"])
def test_point_navigation_rewards_nearness_to_goals_where_they_should_lie(layout: Any):
    dense, sparse = PointNavigation(layout=layout), PointNavigation(layout=layout, payoff="sparse")
    task = NativeTasks(dense).sample(500, "train", counter(0, 0, "tasks"))
    goals = dense.goal(task)
    if layout == "square":
        assert goals.abs().max() <= 0.5 and goals.min() < -0.48 and goals.max() > 0.48
    else:
        torch.testing.assert_close(goals.norm(dim=-1), torch.ones(500))
        assert goals[:, 1].min() >= 0 and goals[:, 0].min() < -0.9
    action, none = torch.zeros(500, 2), torch.zeros(0)
    for offset in (0.0, 0.1, 0.3):
        place = goals + torch.tensor([offset, 0.0])
        torch.testing.assert_close(dense.reward(place, action, place, task, none), torch.full((500,), -offset))
        near = torch.full((500,), 1 - offset if offset < 0.2 else 0.0)
        torch.testing.assert_close(sparse.reward(place, action, place, task, none), near)


@pytest.mark.parametrize("layout", ["square", "half-circle"])
def test_point_navigation_may_end_where_both_axes_are_within_a_hundredth_of_the_goal(layout: Any):
    ends, goes_on = PointNavigation(layout=layout, ends_at_goal=True), PointNavigation(layout=layout)
    task = NativeTasks(ends).sample(100, "train", counter(0, 0, "tasks"))
    for offset, there in (((0.0, 0.0), True), ((0.009, -0.009), True), ((0.011, 0.0), False), ((0.0, -0.011), False)):
        place = ends.goal(task) + torch.tensor(offset)
        assert bool((ends.terminal(place, task) == there).all()) and not goes_on.terminal(place, task).any()


def test_turned_axes_turn_every_action_and_leave_the_goal():
    """Against complex numbers: a turn is a product with e^(i turn). One who is told turns back, and is there in five steps."""
    ours, none = PointNavigation(layout="turned"), torch.zeros(0)
    task = NativeTasks(ours).sample(400, "train", counter(0, 0, "tasks"))
    assert task["turn"].min() < -3.1 and task["turn"].max() > 3.1
    torch.testing.assert_close(ours.goal(task), torch.tensor([0.5, 0.0]).expand(400, 2))
    action = torch.rand(400, 2, generator=counter(0, 0, "actions")) / 5 - 0.1
    moved = torch.view_as_complex(ours.transition(torch.zeros(400, 2), action, task, none))
    torch.testing.assert_close(moved, torch.view_as_complex(action) * torch.exp(1j * task["turn"]))
    back = torch.stack([task["turn"].cos(), -task["turn"].sin()], dim=-1) / 10
    place = torch.zeros(400, 2)
    for _ in range(5):
        place = ours.transition(place, back, task, none)
    assert ours.distance(place, task).max() < 1e-5
    assert float(ours.task_at((0.3, 0.3))["turn"]) == pytest.approx(0.7853982)


def test_swapped_buttons_mirror_the_cart():
    ours = CartPole()
    task = {name: torch.tensor(value) for name, value in GYMNASIUM_DEFAULTS.items()}
    swapped = task | {"direction": torch.tensor(-1.0)}
    state, noise = torch.tensor([0.01, 0.02, 0.03, 0.04]), torch.zeros(0)
    right, left = torch.tensor(1), torch.tensor(0)
    assert torch.equal(ours.transition(state, right, task, noise), ours.transition(state, left, swapped, noise))


def test_a_native_environment_ends_episodes_at_the_limit_and_starts_them_anew():
    tasks = families.make("cart-pole", max_episode_steps=5)
    env = tasks.make(3, 2)
    env.reset(tasks.sample(3, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    for step in range(1, 12):
        transition = env.step(torch.full((3, 2), step % 2))
        assert bool(transition.truncated.all()) == (step % 5 == 0)
        assert not transition.terminated.any()
        if step % 5 == 0:
            assert (transition.observation.abs() <= 0.05).all()
            assert not torch.equal(transition.observation, transition.arrival)
        else:
            assert torch.equal(transition.observation, transition.arrival)


def test_an_action_outside_its_box_is_the_nearest_one_inside():
    tasks = qs.NativeTasks(HiddenSide())
    rewards = []
    for pushed in (100.0, 1.5):
        env = tasks.make(2, 1)
        env.reset({"side": torch.tensor([-1.0, 1.0])}, counter(0, 0, "env"))
        rewards.append(env.step(torch.full((2, 1, 1), pushed)).reward.flatten().tolist())
    assert rewards == [pytest.approx([1 - 2.5**2 / 4, 1 - 0.5**2 / 4])] * 2


def test_grid_navigation_is_varibads():
    grid = GridNavigation()
    goals = {
        tuple(goal) for goal in families.make("grid-navigation").sample(2000, "train", counter(0, 0, "g"))["goal"].tolist()
    }
    assert goals == {(row, column) for row in range(5) for column in range(5)} - {(0, 0), (0, 1), (1, 0), (1, 1)}
    task = {"goal": torch.tensor([0.0, 2.0])}
    state, none = grid.initial(task, torch.zeros(0)), torch.zeros(0)
    rewards = []
    for action in [2, 2, 0, 1, 3, 4, 4, 4]:  # right, right, stay, up, down, left, left, left against the wall
        arrival = grid.transition(state, torch.tensor(action), task, none)
        rewards.append(round(float(grid.reward(state, torch.tensor(action), arrival, task, none)), 6))
        state = arrival
    assert rewards == [-0.1, 1.0, 1.0, -0.1, 1.0, -0.1, -0.1, -0.1]
    assert grid.observation(state, task).item() == 0
    assert (grid.max_episode_steps, families.make("grid-navigation").episodes_per_trial) == (15, 4)


@pytest.mark.parametrize("payoff", ["bernoulli", "gaussian"])
def test_a_bandit_pays_its_means(payoff: str):
    tasks = families.make("bandit", arms=3, pulls=1, payoff=payoff)
    env = tasks.make(2, 50_000)
    drawn = tasks.sample(2, "train", counter(0, 0, "tasks"))
    env.reset(drawn, counter(0, 0, "env"))
    for arm in range(3):
        reward = env.step(torch.full((2, 50_000), arm)).reward
        torch.testing.assert_close(reward.mean(1), drawn["means"][:, arm], atol=0.02, rtol=0)
        if payoff == "bernoulli":
            assert set(reward.unique().tolist()) <= {0.0, 1.0}
        else:
            torch.testing.assert_close(reward.std(1), torch.ones(2), atol=0.02, rtol=0)


def test_random_arms_earn_half_a_pull():
    means = families.make("bandit").sample(20_000, "train", counter(0, 0, "tasks"))["means"]
    assert means.shape == (20_000, 5)
    torch.testing.assert_close(means.mean(), torch.tensor(0.5), atol=0.005, rtol=0)


def test_parameters_normalise_to_about_one():
    generator = counter(0, 0, "parameters")
    uniform, choice, normal = Uniform(2, 6, (3,)), Choice((0.0, 1.0), (4.0, 3.0)), Normal(5, 2)
    values = uniform.normalise(uniform.sample(1000, "train", generator))
    assert values.shape == (1000, 3) and -1 <= values.min() < -0.9 and 0.9 < values.max() <= 1
    assert {tuple(row) for row in choice.normalise(choice.sample(100, "train", generator)).tolist()} == {(-1, -1), (1, 1)}
    assert abs(float(normal.normalise(normal.sample(10_000, "train", generator)).std()) - 1) < 0.03


def test_informed_tasks_append_the_task_to_every_observation():
    tasks = families.make("grid-navigation", max_episode_steps=2)
    told = Informed(tasks)
    drawn = told.sample(4, "train", counter(0, 0, "tasks"))
    env = told.make(4, 2)
    observation = env.reset(drawn, counter(0, 0, "env"))
    assert observation.shape == (4, 2, *told.observation_space.shape)
    assert torch.equal(observation[..., :25].argmax(-1), torch.zeros(4, 2, dtype=torch.long))
    for _ in range(3):
        transition = env.step(torch.ones(4, 2, dtype=torch.long))
        for seen in (transition.observation, transition.arrival):
            assert torch.equal(seen[:, 0, 25:], tasks.normalise(drawn)) and torch.equal(seen[:, 1, 25:], tasks.normalise(drawn))


def test_names_and_options_are_looked_up_with_suggestions():
    with pytest.raises(UsageError, match="did you mean 'bandit'"):
        families.make("bandits")
    with pytest.raises(UsageError, match="no option 'arm'; did you mean 'arms'"):
        families.make("bandit", arm=3)
    with pytest.raises(UsageError, match="arms is 1, it must be at least 2"):
        families.make("bandit", arms=1)


def test_registered_tasks_describe_themselves():
    assert families.describe(families.make("bandit", arms=7)) == (
        "bandit",
        {"arms": 7, "pulls": 10, "payoff": "bernoulli", "episodes_per_trial": 1},
    )
    assert families.describe(Informed(families.make("bandit"))) == families.describe(families.make("bandit"))
    assert Bandit(arms=7).parameters["means"] == Uniform(0.0, 1.0, (7,), extrapolates=False)


def test_lakes_can_be_crossed_and_belong_to_one_split():
    """Every map has a way across, found here by walking every way; and no map is in two splits."""
    holes, seen = Holes(4), {}
    for split in ("train", "validation", "test"):
        maps = holes.sample(10_000, split, counter(0, 0, split))
        assert maps.shape == (10_000, 4, 4) and not maps[:, 0, 0].any() and not maps[:, 3, 3].any()
        seen[split] = {tuple(row) for row in maps.flatten(1).tolist()}
        for row in list(seen[split])[:100]:
            assert crossed(torch.tensor(row).view(4, 4), (0, 0), set())
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["validation"] and not seen["validation"] & seen["test"]
    assert 0.4 < len(seen["train"]) / sum(map(len, seen.values())) < 0.6


def crossed(holes: torch.Tensor, tile: tuple[int, int], been: set[tuple[int, int]]) -> bool:
    row, column = tile
    if tile in been or not (0 <= row < len(holes) and 0 <= column < len(holes)) or holes[row, column]:
        return False
    been.add(tile)
    steps = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
    return tile == (len(holes) - 1, len(holes) - 1) or any(crossed(holes, step, been) for step in steps)


def test_maps_without_a_way_across_are_known():
    wall = torch.zeros(2, 3, 3, dtype=torch.bool)
    wall[0, :, 1] = True  # a wall of holes from side to side
    wall[1, :2, 1] = True
    assert passable(wall).tolist() == [False, True]


def test_a_frozen_lake_by_hand():
    """A hole to the right of the start; the way leads down and along the bottom row."""
    lake = FrozenLake(size=3)
    holes = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    holes[..., 0, 1] = True
    task, noise = {"holes": holes}, torch.zeros(1, 1, 0)
    start = lake.initial(task, noise)
    for actions, ends, success in (
        ([3], True, False),
        ([1, 1, 3], False, False),
        ([1, 1, 3, 3], True, True),
        ([0, 2, 4], False, False),
    ):
        state = start
        for action in actions:
            before, state = state, lake.transition(state, torch.full((1, 1), action), task, noise)
        assert bool(lake.terminal(state, task)) is ends
        assert float(lake.reward(before, torch.full((1, 1), actions[-1]), state, task, noise)) == float(success)


def test_a_drawn_grid_shows_the_cell_and_not_the_goal():
    drawn = GridNavigation(size=4, view="drawn")
    state = torch.tensor([[2, 1], [0, 3]])
    shown = drawn.observation(state, {"goal": torch.tensor([3, 3])})
    assert shown.dtype == torch.uint8 and shown.shape == (2, *drawn.observation_space.shape)
    assert shown.nonzero().tolist() == [[0, 0, 2, 1], [1, 0, 0, 3]]
