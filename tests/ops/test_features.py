"""Spaces as vectors, and the percept that a memory reads."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from quickstudy.errors import UsageError
from quickstudy.ops.features import as_vector, percept_vector, unit_vector, vector_size
from quickstudy.protocol import begin_trial


def test_discrete_is_one_hot_and_boxes_are_flat():
    assert as_vector(spaces.Discrete(3), torch.tensor([[2, 0]])).tolist() == [[[0, 0, 1], [1, 0, 0]]]
    box = spaces.Box(-1, 1, (2, 2))
    assert as_vector(box, torch.zeros(5, 1, 2, 2)).shape == (5, 1, 4) and vector_size(box) == 4
    assert as_vector(spaces.Box(-1, 1, ()), torch.zeros(5, 1)).shape == (5, 1, 1)
    assert as_vector(box, torch.zeros(0, 2, 2)).shape == (0, 4)


def test_bounded_parts_of_a_box_are_scaled_and_others_left():
    box = spaces.Box(np.array([0.0, -np.inf], dtype=np.float32), np.array([4.0, np.inf], dtype=np.float32))
    assert unit_vector(box, torch.tensor([[[3.0, 7.0]]])).tolist() == [[[0.5, 7.0]]]


def test_a_trials_first_percept_has_no_previous_action():
    observation, action = spaces.Discrete(2), spaces.Discrete(3)
    start = begin_trial(torch.zeros(1, 1, dtype=torch.long), action)
    assert percept_vector(start, observation, action).tolist() == [[[1, 0, 0, 0, 0, 0, 0]]]
    later = start._replace(first=torch.zeros(1, 1, dtype=torch.bool), reward=torch.full((1, 1), 5.0))
    assert percept_vector(later, observation, action).tolist() == [[[1, 0, 1, 0, 0, 5, 0]]]
    ended = start._replace(truncated=torch.ones(1, 1, dtype=torch.bool))
    assert percept_vector(ended, observation, action).tolist() == [[[1, 0, 1, 0, 0, 0, 1]]]


def test_other_spaces_are_refused_in_one_line():
    with pytest.raises(UsageError, match="is no vector but image: show features instead"):
        vector_size(spaces.Box(0, 255, (8, 8, 3)))
