"""How new something is: how badly a network imitates a fixed random one there (Burda et al. 2019, arXiv:1810.12894)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.nets.networks import Weights, copy_into, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.reader import Inputs, behind
from quickstudy.ops.fit import require_fit
from quickstudy.ops.moments import Moments, merged, moments_of
from quickstudy.ops.returns import discounted_sum
from quickstudy.protocol import State, counter

SHARPNESS = 3.0
"""Scale of the random network's first layer: the larger, the less far what was seen makes its neighbourhood old."""


class Novelty:
    """The random network and its imitator."""

    def __init__(self, inputs: Inputs, hidden: int, rate: float, *, seed: int, device: str = "cpu"):
        self.net = behind(inputs.reader, skeleton(lambda: multilayer(inputs.size, hidden, 2, hidden, nn.Tanh)))
        self.weights = initial_weights(self.net, counter(seed, 0, "imitator"), {}, device)
        generator = counter(seed, 0, "random network")
        self.target: Weights = {}
        for name, weight in initial_weights(self.net, generator, {"0": SHARPNESS}, "cpu").items():
            # without biases of its own it would be an odd function, and one half of space would tell of the other
            bias = torch.randn(weight.shape, generator=generator) if name.endswith("bias") else weight.detach()
            self.target[name] = bias.to(device)
        self.optimiser = Adam(self.weights.values(), lr=rate)

    def errors(self, weights: Weights, inputs: Shaped[Tensor, "*lead entry"]) -> Float[Tensor, "*lead"]:
        """The imitator's squared error, a mean over outputs."""
        imitated, target = (functional_call(self.net, each, (inputs,)) for each in (weights, self.target))
        return (imitated - target).square().mean(-1)

    @torch.no_grad()
    def __call__(self, inputs: Shaped[Tensor, "*lead entry"]) -> Float[Tensor, "*lead"]:
        """How new each is."""
        return self.errors(self.weights, inputs)

    def learn(self, inputs: Shaped[Tensor, "step entry"], parts: int, generator: Generator) -> None:
        """Makes them less new: one pass over them, in so many parts."""
        for steps in torch.randperm(len(inputs), generator=generator).chunk(parts):
            self.optimiser.zero_grad()
            self.errors(self.weights, inputs[steps.to(inputs.device)]).mean().backward()
            self.optimiser.step()

    def state_dict(self) -> State:
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        return {"weights": weights, "target": self.target, "optimiser": adam_state(self.optimiser)}

    def fits(self, where: str, stored: Any) -> None:
        """The pattern of what `state_dict` gave; ValueError where it is not of such networks."""
        require_fit(where, stored, dict(self.state_dict()) | {"optimiser": adam_fits(self.optimiser)})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        copy_into(self.weights, state["weights"])
        copy_into(self.target, state["target"])
        load_adam_state(self.optimiser, state["optimiser"])


def discounted_scale(
    seen: Moments, bonus: Float[Tensor, "*lead time"], valid: Bool[Tensor, "*lead time"], discount: float
) -> Moments:
    """The moments of a bonus's discounted sums over the steps so far, those that were seen before and these.

    Divided by their deviation, a bonus has a size of its own, whatever its unit (Burda et al. 2019, sec. 2.4).
    """
    sums = discounted_sum((bonus * valid).flip(-1), torch.full_like(bonus, discount)).flip(-1)
    return merged(seen, moments_of(sums[valid]))
