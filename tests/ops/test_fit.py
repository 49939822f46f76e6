"""What may take the place of a state is told by the state itself, and what doesn't is named in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quickstudy.ops.fit import COUNTED, require_fit, require_range

PATTERN: dict[str, Any] = {
    "iteration": COUNTED,
    "weights": {"a": torch.zeros(2, 3), "b": torch.zeros(3, dtype=torch.long)},
    "optimiser": {},
    "memory": torch.zeros(0, 3),
    "rate": 0.5,
    "best": float("-inf"),
    "name": "x",
    "on": True,
    "last": None,
    "list": (1, 2),
}
SOUND: dict[str, Any] = {
    "iteration": 7,
    "weights": {"a": torch.ones(2, 3), "b": torch.ones(3, dtype=torch.long)},
    "optimiser": {"anything": torch.zeros(9)},
    "memory": torch.zeros(5, 3),
    "rate": 1,
    "best": 3.0,
    "name": "y",
    "on": False,
    "last": "what",
    "list": [1, 2, 3],
}


def test_a_sound_state_fits():
    require_fit("", SOUND, PATTERN)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"iteration": -1}, "iteration is -1, it must be a whole number from 0"),
        ({"iteration": True}, "iteration is True"),
        ({"iteration": float("inf")}, "iteration is inf"),
        ({"iteration": 2**60}, "iteration is 1152921504606846976"),
        ({"weights": {"a": torch.zeros(2, 3)}}, "weights/b is missing"),
        ({"weights": SOUND["weights"] | {"c\n": 1}}, r"weights has 'c\\n', which doesn't belong there"),
        (
            {"weights": SOUND["weights"] | {"a": torch.zeros(3, 2)}},
            r"weights/a is a tensor of torch.float32 with shape \(3, 2\)",
        ),
        ({"weights": SOUND["weights"] | {"a": torch.zeros(2, 3).double()}}, "weights/a is a tensor of torch.float64"),
        ({"weights": SOUND["weights"] | {"a": torch.full((2, 3), float("nan"))}}, "weights/a holds NaN or infinity"),
        ({"weights": SOUND["weights"] | {"a": 3}}, "weights/a is 3, it must be a tensor"),
        ({"weights": 3}, "weights is 3, it must be a table of names"),
        ({"memory": torch.zeros(5, 4)}, "memory is a tensor"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": "1"}, "rate is '1'"),
        ({"rate": True}, "rate is True"),
        ({"name": 3}, "name is 3, it must be a value of type str"),
        ({"on": 1}, "on is 1"),
        ({"list": "ab"}, "list is 'ab'"),
    ],
)
def test_what_doesnt_fit_is_named_in_one_line(change: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says) as refusal:
        require_fit("", SOUND | change, PATTERN)
    assert "\n" not in str(refusal.value)


def test_ranges():
    require_range("x", torch.tensor([0.0, 1.0]), 0, 1)
    require_range("x", torch.zeros(0), 0, 1)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="x has entries"):
            require_range("x", torch.tensor([0.5, value]), 0, 1)
