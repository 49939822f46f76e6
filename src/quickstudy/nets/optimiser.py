"""Adam's state as a flat dictionary of tensors, so that a checkpoint needs no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from quickstudy.ops.fit import Check, misfit, require_fit, require_range, within


def adam_state(optimiser: Adam) -> dict[str, Tensor]:
    """The moments and step counts, named `<parameter index>.<moment>`."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def adam_fits(optimiser: Adam) -> Check:
    """The pattern of an optimiser's state: moments like its parameters, of those that were moved yet."""

    def check(where: str, stored: Any) -> None:
        if not isinstance(stored, Mapping):
            raise misfit(where, stored, "a table of moments")
        pattern: dict[str, Any] = {}
        for index, parameter in enumerate(each for group in optimiser.param_groups for each in group["params"]):
            moments = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            own = {f"{index}.{name}": like for name, like in moments.items()}
            pattern |= own if own.keys() & stored.keys() else {}
        require_fit(where, stored, pattern or {"no moments": None} if stored else {})
        for name in pattern:
            if not name.endswith(".exp_avg"):
                require_range(within(where, name), stored[name], 0)

    return check


def load_adam_state(optimiser: Adam, flat: Mapping[str, Any]) -> None:
    """Puts back copies of what `adam_state` gave: the optimiser would go on in the tensors that it is given.

    ValueError, before anything changes, where they aren't of its parameters.
    """
    adam_fits(optimiser)("the optimiser's state", flat)
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, key = name.split(".")
        entries.setdefault(int(index), {})[key] = value.clone()
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
