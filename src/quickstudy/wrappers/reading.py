"""The reader that a learner has learnt, as an encoder: what one run has learnt to see, others need not learn again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.nets.reader import reader_of
from quickstudy.ops.senses import as_bytes
from quickstudy.ops.tree import within
from quickstudy.protocol import Agent


@checked
class Reading(nn.Module):
    """A copy of a learner's reader with the weights that it has now, frozen: observations (n, ...) to features (n, size).

        reading = Reading(qs.load("runs/first", tasks))
        qs.PEARL(qs.Encoded(tasks, reading, reading.size))

    UsageError where the learner's policy isn't one network behind one reader, as those of RL2, MAML, ProMP and multi-task are
    where observations are no vectors.
    """

    def __init__(self, learner: Agent):
        super().__init__()
        policy = learner.explorer()
        net, weights = getattr(policy, "net", None), getattr(policy, "weights", None)
        reader = reader_of(net) if isinstance(net, nn.Module) else None
        if reader is None or not isinstance(weights, Mapping):
            raise UsageError(f"Reading: {learner.name} has no reader of its own, or none that stands before its whole network")
        self.space: Any = learner.tasks.observation_space
        self.size = reader.features
        self.reader = copy.deepcopy(reader).to_empty(device=learner.device)
        own = within("reader.", weights)
        self.reader.load_state_dict(own)
        self.requires_grad_(False)

    def forward(self, seen: Shaped[Tensor, "row ..."] | Mapping[str, Tensor]) -> Float[Tensor, "row {self.size}"]:
        if isinstance(seen, Mapping):
            return self.reader.look(self.space.join(seen))
        return self.reader.look(as_bytes(self.space, seen))
