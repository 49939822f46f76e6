"""The off-policy recurrent learner against loops over single trials, and in each of its ways of drawing and learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from probes import HiddenButton, HiddenSide, Survival
from small import SMALL, TINY
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms.memory.recurrent_sac import Held, RecurrentSAC, Shortcut, heads_of, remembered, targets
from quickstudy.check.learner import CLAUSES, Subject
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.networks import GATE_SPREAD, initial_weights
from quickstudy.nets.packed import PackedEncoder
from quickstudy.nets.values import unit_scale
from quickstudy.ops.state import copy_state
from quickstudy.ops.tree import tensors_in
from quickstudy.parts.soft import ActorCritic, soft_value, values_of
from quickstudy.parts.trials import batch_of, mixed_returns, records_of, returns_of, squared_error
from quickstudy.protocol import Experience, Shard, counter
from quickstudy.work import InProcess, LocalSite

SIZES = [2, 2, 2, 1, 1]
"""Two trials, one of five steps and one of three, as rows: 0 1 | 2 3 | 4 5 | 6 | 7."""
ROWS = [[0, 2, 4, 6, 7], [1, 3, 5]]


def learner(dynamics: Any = None, **options: Any) -> RecurrentSAC:
    config = RecurrentSAC.Config(**SMALL["recurrent-sac"] | {"trials": 8, "batch_size": 8} | options)
    return RecurrentSAC(qs.NativeTasks(dynamics or Survival()), config, seed=2)


def lived(agent: RecurrentSAC, tasks: int = 8) -> Experience:
    steps = agent.tasks.episodes_per_trial * agent.tasks.max_episode_steps
    plan = Plan(agent.explorer(), 1, steps, agent.tasks.episodes_per_trial)
    return collect(LocalSite(agent.tasks), plan, Shard(0, 0, 0, tasks, "train"))


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_mixed_returns_are_their_recursion_in_each_trial(trace: float):
    torch.manual_seed(0)
    reward, ahead, bonus = torch.randn(3, 8).unbind()
    discount = torch.full((8,), 0.9)
    discount[[4, 5]] = 0.0  # an end in the middle of one trial, and at the end of the other
    traces = torch.full((8,), trace)
    traces[7] = 0.0  # where nothing follows
    aims = mixed_returns(reward, discount, ahead, bonus, traces, SIZES)
    for rows in ROWS:
        later = torch.tensor(0.0)
        for row in reversed(rows):
            mixed = (1 - traces[row]) * ahead[row] + traces[row] * (later + bonus[row]) if row not in (7, 5) else ahead[row]
            later = reward[row] + discount[row] * mixed
            assert float(aims[row]) == pytest.approx(float(later), abs=1e-5)


def test_with_a_full_trace_and_no_entropy_targets_are_the_discounted_rewards_to_come():
    agent = learner(gamma=0.9, trace=1.0)
    batch = batch_of(records_of(agent.tasks, "trial", lived(agent)))
    aims, known = aims_of(agent, batch, temperature=0.0)
    rewards = batch.reward
    for trial in range(8):
        rows = (batch.layout.sequence == trial).nonzero()[:, 0]
        to_come = sum(0.9**step * float(rewards[row]) for step, row in enumerate(rows))
        assert float(aims[rows[0]]) == pytest.approx(to_come, rel=1e-4)
    assert bool(known.all())


@torch.no_grad()
def aims_of(agent: RecurrentSAC, batch: Any, temperature: float | None = None) -> tuple[Tensor, Tensor]:
    learned, sizes = agent.learned._replace(critic=agent.target.critic), batch.layout.sizes
    if temperature is not None:
        learned = learned._replace(log_temperature=torch.tensor(temperature).log())
    held = Held(*(remembered(agent.net, side, batch.inputs, sizes) for side in (learned.actor, learned.critic)))
    noise = torch.zeros(len(batch.reward), agent.actions.action_size)
    return targets(agent.net, agent.actions, agent.config, learned, batch, held, agent.scale, noise)


def test_by_trial_an_episodes_end_is_none_and_the_last_step_ends_all():
    agent = learner()
    experience = lived(agent)
    records = records_of(agent.tasks, "trial", experience)
    assert records["valid"].shape[1] == 30 and not records["leaves"].any()
    assert torch.equal(records["ends"].sum(1), torch.ones(8, dtype=torch.long))
    last = records["valid"].sum(1) - 1
    assert bool(records["ends"][torch.arange(8), last].all())


@torch.no_grad()
def test_by_episode_values_stop_at_terminations_and_look_beyond_time_limits():
    """Each target by hand: the memories run over the trial's own steps, and once more where the time limit came."""
    agent = learner(Survival(max_episode_steps=2), credit="episode", gamma=0.9)
    experience, tasks = lived(agent), agent.tasks
    records = records_of(tasks, "episode", experience)
    batch = batch_of(records)
    assert bool(batch.leaves.any()) and bool(batch.ends.any())
    aims, known = aims_of(agent, batch)
    assert bool(known.all())
    net, heads = ActorCritic(*agent.net[1:], agent.actions), heads_of(agent.learned)
    for trial in range(8):
        length = int(records["valid"][trial].sum())
        for step, aim in enumerate(aims[batch.layout.sequence == trial]):
            read = records["inputs"][trial, : step + 2]
            if records["leaves"][trial, step]:
                read = torch.cat([records["inputs"][trial, : step + 1], records["arrival"][trial, step : step + 1]])
            following = 0.0
            if not records["ends"][trial, step] and (step + 1 < length or records["leaves"][trial, step]):
                sides = (agent.learned.actor, agent.target.critic)
                held = Held(*(remembered(agent.net, side, read, [1] * len(read))[-1:] for side in sides))
                place = held.place(agent.net)
                following = float(soft_value(net, heads, agent.target.critic.head, place, torch.zeros(1, 0))[0])
            assert float(aim) == pytest.approx(float(records["reward"][trial, step]) + 0.9 * following, abs=1e-5)


def test_the_percept_beyond_a_time_limit_is_of_the_same_episode():
    """What the memories read there: no episode has ended, and none begins."""
    agent = learner(Survival(max_episode_steps=2), credit="episode")
    records = records_of(agent.tasks, "episode", lived(agent))
    at = (records["leaves"] & records["valid"])[:, :-1].nonzero(as_tuple=True)
    beyond, following = records["arrival"][at], records["inputs"][at[0], at[1] + 1]
    both = records["valid"][at[0], at[1] + 1]
    ended, episode = -3, -1
    assert not beyond[:, ended].any() and bool((following[both, ended] == 1).all())
    torch.testing.assert_close(following[both, episode] - beyond[both, episode], torch.full((int(both.sum()),), 1 / 3))
    torch.testing.assert_close(beyond[both, :ended], following[both, :ended])


def test_a_slice_that_the_trial_goes_on_from_has_no_target_at_its_last_step():
    agent = learner(slice_length=4)
    agent.train_step(InProcess(agent.tasks))
    batch, _, _ = agent.draw(counter(0, 0, "draw"))
    _, known = aims_of(agent, batch)
    counts = torch.zeros(8, dtype=torch.long).index_add(0, batch.layout.sequence, torch.ones_like(batch.layout.sequence))
    for trial in range(8):
        mine = batch.layout.sequence == trial
        ends = bool(batch.ends[mine].any())
        assert int(known[mine].sum()) == int(counts[trial]) - (0 if ends else 1)
        assert int(counts[trial]) <= 5


def test_the_squared_error_weighs_trials_and_tells_each_trials_mean_error():
    values = torch.tensor([[1.0, 2.0, 3.0], [0.0, 2.0, 5.0]])
    loss, error = squared_error(
        values,
        torch.tensor([0.0, 0.0, 3.0]),
        torch.tensor([True, False, True]),
        torch.tensor([0, 0, 1]),
        torch.tensor([1.0, 0.5]),
    )
    assert float(loss) == pytest.approx(0.5 * (1.0 + 0.5 * 4.0) / 2)
    assert error.tolist() == [0.5, 1.0]


@torch.no_grad()
def test_acting_step_by_step_remembers_what_training_on_the_whole_trial_does():
    agent = learner()
    experience = lived(agent, tasks=4)
    batch = batch_of(records_of(agent.tasks, "trial", experience))
    held = remembered(agent.net, agent.learned.actor, batch.inputs, batch.layout.sizes)
    for trial in range(4):
        torch.testing.assert_close(held[batch.layout.sequence == trial][-1], experience.end_memory["state"][trial, 0])


def test_the_critics_judge_the_actor_and_are_not_moved_by_it():
    """With targets that are met already, only the actor has a gradient."""
    agent = learner(HiddenSide())
    agent.train_step(InProcess(agent.tasks))
    batch, weight, _ = agent.draw(counter(0, 0, "draw"))
    before = [value.clone() for value in tensors_in(agent.learned.critic)]
    agent.update(batch, torch.zeros_like(weight), counter(0, 0, "noise"), moves_policy=True)
    norms = [float(value.grad.abs().max()) for value in tensors_in(agent.learned.critic) if value.grad is not None]
    assert max(norms) == 0 and len(before) == len(norms)
    assert all(value.grad is not None and bool(value.grad.abs().any()) for value in agent.learned.actor.head.values())


def test_an_update_aims_at_the_values_of_the_target_critics():
    """Which remember with weights of their own: here they are far from the critics."""
    agent = learner(HiddenButton())
    agent.train_step(InProcess(agent.tasks))
    for weight in tensors_in(agent.target.critic):
        weight += torch.randn(weight.shape, generator=counter(0, 0, "elsewhere"))
    batch, weight, _ = agent.draw(counter(0, 0, "draw"))
    aims, _ = aims_of(agent, batch)
    parts, _ = agent.update(batch, weight, counter(0, 0, "noise"), moves_policy=True)
    assert float(parts["train/value"]) == pytest.approx(float(aims.mean()), rel=1e-4)


def test_a_shared_memory_is_trained_by_the_critics_alone():
    agent = learner(shared_encoder=True)
    agent.train_step(InProcess(agent.tasks))
    encoder = agent.learned.critic.encoder
    assert agent.learned.actor.encoder is encoder
    batch, weight, _ = agent.draw(counter(0, 0, "draw"))
    agent.update(batch, torch.zeros_like(weight), counter(0, 0, "noise"), moves_policy=True)
    assert all(value.grad is not None and not bool(value.grad.any()) for value in encoder.values())


@pytest.mark.usefixtures("one_kind")
@pytest.mark.parametrize(
    "options",
    [
        {"prioritised": 0.6},
        {"slice_length": 2},
        {"buffer_on_disk": True},
        {"shared_encoder": True},
        {"credit": "episode", "trace": 0.5, "anneal_iterations": 3},
        {"buffer_trials": 8},
        {"value_rate": 0.0},
    ],
    ids=str,
)
def test_every_way_of_learning_resumes_bit_for_bit(options: dict[str, Any]):
    subject = Subject(RecurrentSAC, RecurrentSAC.Config(**TINY["recurrent-sac"] | options))
    CLAUSES["resuming"](subject)


def test_td3_resumes_bit_for_bit_with_its_delayed_policy():
    config = RecurrentSAC.Config(**TINY["recurrent-sac"] | {"updates": 3, "method": "td3"})
    agents = [RecurrentSAC(qs.tasks.make("point-navigation", max_episode_steps=5), config) for _ in range(2)]
    work = InProcess(agents[0].tasks)
    for _ in range(3):
        agents[0].train_step(work)
    agents[1].load_state_dict(copy_state(agents[0].state_dict()))
    assert agents[0].train_step(work) == agents[1].train_step(work)
    assert torch.equal(qs.evaluate(agents[0], num_tasks=5).returns, qs.evaluate(agents[1], num_tasks=5).returns)


@pytest.mark.parametrize(("every", "updates"), [(7, 0), (10**6, 0), (7, 3)])
def test_steps_lived_say_how_many_gradient_steps_there_are(every: int, updates: int):
    agent = learner(updates=updates, update_every=every)
    lived_steps = agent.train_step(InProcess(agent.tasks))["rollout/timesteps"]
    taken = float(agent.optimiser.state[agent.learned.log_temperature]["step"])
    assert taken == (updates or max(1, round(lived_steps / every)))


@pytest.mark.parametrize("memory", ["gru", "lstm", "gru-norm"])
def test_beside_the_memory_stands_what_it_read(memory: Any):
    """A shortcut's state is the encoded step and then what the memory holds without it."""
    config = RecurrentSAC.Config(hidden_size=5, memory=memory)
    plain, cut = PackedEncoder(4, memory, config), Shortcut(4, config)
    weights = initial_weights(plain, counter(0, 0, "weights"), {}, "cpu")
    inputs, start = torch.randn(8, 4), torch.randn(2, plain.state_size)
    alone = functional_call(plain, weights, (inputs, start, SIZES))
    both = functional_call(cut, weights, (inputs, torch.cat([torch.full((2, 5), 9.0), start], 1), SIZES))
    encoder = {name.removeprefix("encoder."): weight for name, weight in weights.items() if name.startswith("encoder.")}
    torch.testing.assert_close(both, torch.cat([functional_call(plain.encoder, encoder, (inputs,)), alone], 1))
    assert (cut.state_size, cut.hidden_size) == (both.shape[1], 10)


def test_memories_begin_with_gates_that_spread_unless_they_are_told_not_to():
    """Its gates' matrices are square here, so that each is its gain times a rotation."""
    for initialisation, gain in (("spread", GATE_SPREAD), ("orthogonal", 1.0)):
        agent = learner(initialisation=initialisation, hidden_size=16)
        for side in (agent.learned.actor, agent.learned.critic):
            for gate in side.encoder["memory.from_input"].detach():
                torch.testing.assert_close(gate @ gate.T, gain**2 * torch.eye(16), atol=1e-5, rtol=0)


def test_returns_are_the_discounted_rewards_to_come_of_each_trial():
    agent = learner(gamma=0.9)
    batch = batch_of(records_of(agent.tasks, "trial", lived(agent)))
    returns = returns_of(batch, 0.9)
    for trial in range(8):
        rows, to_come = (batch.layout.sequence == trial).nonzero()[:, 0].tolist(), 0.0
        for row in reversed(rows):
            to_come = float(batch.reward[row]) + 0.9 * to_come
            assert float(returns[row]) == pytest.approx(to_come, rel=1e-5)


def test_values_on_a_scale_are_the_same_in_other_units():
    """Rewards and scale 1,024 times as large, which moves no bit: the loss is the same and what is aimed at as large."""
    agents = [learner(HiddenSide()) for _ in range(2)]
    found = []
    for agent, units in zip(agents, (1.0, 1024.0), strict=True):
        agent.train_step(InProcess(agent.tasks))
        batch, weight, _ = agent.draw(counter(0, 0, "draw"))
        agent.scale = agent.scale._replace(mean=units * agent.scale.mean, variance=units**2 * agent.scale.variance)
        found.append(agent.update(batch._replace(reward=units * batch.reward), weight, counter(0, 0, "noise"), True)[0])
    aims = [each.pop("train/value") for each in found]
    assert float(aims[1]) == 1024 * float(aims[0]) != 0
    assert {name: float(part) for name, part in found[0].items()} == {name: float(part) for name, part in found[1].items()}


def test_no_value_moves_with_its_scale():
    agent = learner(HiddenSide())
    agent.train_step(InProcess(agent.tasks))
    batch = batch_of(records_of(agent.tasks, "trial", lived(agent)))

    @torch.no_grad()
    def restored() -> list[Tensor]:
        play, found = ActorCritic(*agent.net[1:], agent.actions), []
        for side in (agent.learned.critic, agent.target.critic):
            state = remembered(agent.net, side, batch.inputs, batch.layout.sizes)
            values = values_of(play, side.head, Held(state, state).place(agent.net), batch.action)
            found.append(agent.scale.restore(values))
        return found

    before, scale = restored(), agent.scale
    agent.follow_returns(batch._replace(reward=10 * batch.reward + 7))
    assert float(agent.scale.std) > 1.5 * float(scale.std)
    torch.testing.assert_close(restored(), before, atol=1e-5, rtol=1e-4)


def test_with_a_pace_of_zero_values_have_the_rewards_own_scale():
    agent = learner(value_rate=0.0)
    agent.train_step(InProcess(agent.tasks))
    assert agent.scale == unit_scale("cpu") and "value_scale" not in agent.state_dict()


def trial_return(agent: RecurrentSAC, iterations: int, greedy: bool = True) -> float:
    work = InProcess(agent.tasks)
    for _ in range(iterations):
        agent.train_step(work)
    return float(qs.evaluate(agent, num_tasks=400, greedy=greedy).returns.sum(1).mean())


def test_trials_with_large_errors_are_drawn_more_often():
    agent = learner(prioritised=1.0)
    agent.train_step(InProcess(agent.tasks))
    priorities = agent.replay.priorities
    assert priorities is not None
    values = torch.where(priorities.values > 0, 1e-6, 0.0)
    values[3] = 1.0
    priorities.load(values)
    _, weight, leaf = agent.draw(counter(0, 0, "draw"))
    assert ((leaf == 3).float().mean() > 0.8 and float(weight[leaf == 3].max()) < 1.0) or bool((leaf == 3).all())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shards": 3}, "multiple of shards"),
        ({"prioritised": 0.5, "slice_length": 4}, "draws whole trials"),
        ({"gamma": 1.5}, "gamma"),
        ({"trace": -0.1}, "trace"),
        ({"temperature": 0.0}, "temperature"),
        ({"updates": -1}, "updates is -1"),
        ({"update_every": 0}, "update_every is 0"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(options: dict[str, Any], says: str):
    with pytest.raises(qs.UsageError, match=says):
        replace(RecurrentSAC.Config(), **options)


def test_td3_is_refused_where_actions_are_discrete():
    with pytest.raises(qs.UsageError, match="set method to sac"):
        learner(HiddenButton(), method="td3")


def test_the_likeliest_action_is_the_one_that_the_policy_head_ranks_first():
    agent = learner()
    policy, experience = agent.explorer(), lived(agent, tasks=2)
    percept = experience.percept
    first = type(percept)(*(part[:, :, 0] for part in percept))
    act, memory = policy.act(first, policy.initial_memory(2, 1), None)
    parameters = functional_call(agent.net.policy, policy.actor.head, (agent.net.shown(memory["state"]),))
    assert torch.equal(act.action, parameters.argmax(-1))
