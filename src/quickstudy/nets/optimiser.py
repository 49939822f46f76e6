"""Adam's state as a flat dictionary of tensors, so that a checkpoint needs no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Adam


def adam_state(optimiser: Adam) -> dict[str, Tensor]:
    """The moments and step counts, named `<parameter index>.<moment>`."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def load_adam_state(optimiser: Adam, flat: Mapping[str, Any]) -> None:
    """Puts back copies of what `adam_state` gave: the optimiser would go on in the tensors that it is given."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, key = name.split(".")
        entries.setdefault(int(index), {})[key] = value.clone()
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
