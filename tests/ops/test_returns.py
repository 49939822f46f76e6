"""Returns and advantages against their definitions, written as loops."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.ops.returns import discounted_sum, episode_advantages, episode_index, episode_returns, trial_advantages

settings.register_profile("quick", max_examples=25, deadline=None)
settings.load_profile("quick")

probabilities = st.floats(0, 1)
seeds = st.integers(0, 10_000)


def some_trials(seed: int, lanes: int = 3, time: int = 12):
    """Random rewards, values and episode ends; valid steps come first in each lane."""
    generator = torch.Generator().manual_seed(seed)
    reward, value, arrival_value = torch.randn(3, lanes, time, generator=generator, dtype=torch.float64).unbind()
    kind = torch.randint(6, (lanes, time), generator=generator)
    length = torch.randint(1, time + 1, (lanes, 1), generator=generator)
    valid = torch.arange(time) < length
    return reward, value, arrival_value, kind == 0, kind == 1, valid


@given(seeds, probabilities)
def test_discounted_sum_is_its_definition(seed: int, gamma: float):
    reward = some_trials(seed)[0]
    expected = torch.stack([sum(gamma**k * reward[:, t + k] for k in range(12 - t)) for t in range(12)], dim=-1)
    torch.testing.assert_close(discounted_sum(reward, torch.full_like(reward, gamma)), expected)


@given(seeds, probabilities, probabilities)
def test_trial_advantages_are_their_definition(seed: int, gamma: float, trace: float):
    reward, value, _, _, _, valid = some_trials(seed)
    result = trial_advantages(reward, value, valid, gamma, trace)
    for lane in range(3):
        end = int(valid[lane].sum())
        for t in range(12):
            expected = 0.0
            for k in range(t, end):
                successor = value[lane, k + 1] if k + 1 < end else 0.0
                expected += (gamma * trace) ** (k - t) * (reward[lane, k] + gamma * successor - value[lane, k])
            torch.testing.assert_close(result[lane, t], torch.as_tensor(expected, dtype=torch.float64))


@given(seeds, probabilities, probabilities)
def test_episode_advantages_are_their_definition(seed: int, gamma: float, trace: float):
    reward, value, arrival_value, terminated, truncated, valid = some_trials(seed)
    result = episode_advantages(reward, value, arrival_value, terminated, truncated, valid, gamma, trace)
    for lane in range(3):
        for t in range(int(valid[lane].sum())):
            expected, weight = 0.0, 1.0
            for k in range(t, int(valid[lane].sum())):
                if terminated[lane, k]:
                    successor = 0.0
                elif truncated[lane, k]:
                    successor = arrival_value[lane, k]
                else:
                    successor = value[lane, k + 1] if k + 1 < 12 else 0.0
                expected += weight * (reward[lane, k] + gamma * successor - value[lane, k])
                weight *= gamma * trace
                if terminated[lane, k] or truncated[lane, k]:
                    break
            torch.testing.assert_close(result[lane, t], torch.as_tensor(expected, dtype=torch.float64))


@given(seeds, probabilities)
def test_without_trace_decay_an_advantage_is_the_return_less_the_value(seed: int, gamma: float):
    reward, value, _, _, _, valid = some_trials(seed)
    returns = discounted_sum(reward * valid, torch.full_like(reward, gamma))
    torch.testing.assert_close(trial_advantages(reward, value, valid, gamma, 1.0), (returns - value) * valid)


def test_credit_crosses_an_episode_end_only_by_trial():
    reward = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    none, every = torch.zeros(1, 4, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    end = torch.tensor([[False, True, False, True]])
    zero = torch.zeros(1, 4)
    assert trial_advantages(reward, zero, every, 1.0, 1.0).tolist() == [[1, 1, 1, 1]]
    assert episode_advantages(reward, zero, zero, end, none, every, 1.0, 1.0).tolist() == [[0, 0, 1, 1]]


def test_a_time_limit_bootstraps_and_a_termination_does_not():
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    yes, no = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    assert episode_advantages(one, zero, one * 10, no, yes, yes, 0.5, 1.0).item() == 6
    assert episode_advantages(one, zero, one * 10, yes, no, yes, 0.5, 1.0).item() == 1


def test_episode_returns_by_hand():
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    ended = torch.tensor([[False, True, True, False, True]])
    valid = torch.tensor([[True, True, True, True, True]])
    assert episode_index(ended).tolist() == [[0, 0, 1, 2, 2]]
    assert episode_returns(reward, ended, valid, 3).tolist() == [[3, 4, 24]]
    waits = torch.tensor([[True, True, True, False, False]])
    assert episode_returns(reward, ended, waits, 2).tolist() == [[3, 4]]
