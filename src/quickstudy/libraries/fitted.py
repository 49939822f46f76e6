"""A likelihood that is fitted to a family where nobody has reckoned one: a network that tells Gaussians of what a step does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam

from quickstudy.algorithms.baselines.random import Random
from quickstudy.libraries.trials import trials_on
from quickstudy.nets.ensemble import Ensemble, gaussian_error
from quickstudy.nets.networks import bound, initial_weights
from quickstudy.ops.features import as_vector
from quickstudy.ops.tally import begins, count
from quickstudy.parts.belief import as_records
from quickstudy.parts.dynamics import (
    Foretold,
    Steps,
    Units,
    aims_of,
    foretold,
    last_step,
    model_net,
    no_scales,
    read,
    require_vectors,
    small_end,
    steps_of,
    units_of,
    with_steps,
)
from quickstudy.protocol import Agent, Memory, Percept, TaskDistribution, counter


@dataclass(frozen=True)
class Sizes:
    """Of the network."""

    hidden_size: int = 64
    hidden_layers: int = 2
    activation: Literal["relu"] = "relu"


BATCH = 256
"""Steps that an update learns from."""


@dataclass(frozen=True)
class Fitted:
    """Foretells a step from what it began with and what was done, as if each step were on a task drawn anew.

    What a trial has shown before is not in it: it tells families apart, and not the tasks of one.
    """

    net: Ensemble
    units: Units
    tasks: TaskDistribution

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"seen": torch.zeros(tasks, lanes, len(self.units.center), device=self.units.center.device)}

    def surprise(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "task lane"], Memory]:
        step = last_step(self.tasks, percept, memory["seen"])
        after = {"seen": as_vector(self.tasks.observation_space, percept.observation)}
        return density(self.net, self.units, step), after


def density(net: Ensemble, units: Units, steps: Steps) -> Float[Tensor, "*lead"]:
    """log p(change, reward, end) of steps; changes and rewards are in their own units, so that families can be compared."""
    told, aim = foretold_of(net, units, steps), aims_of(units, steps)
    assert told.log_variance is not None, "the network tells Gaussians"
    ending = -functional.binary_cross_entropy_with_logits(told.ends, steps.ends.to(told.ends), reduction="none")
    return ending - (gaussian_error(told.aim, told.log_variance, aim) + units.aim_spread.log()).sum(-1)


def foretold_of(net: Ensemble, units: Units, steps: Steps) -> Foretold:
    """What the network tells of steps."""
    inputs = read(units, steps.seen, steps.action)
    return foretold(units, net(inputs.reshape(1, -1, inputs.shape[-1])).reshape(*inputs.shape[:-1], -1))


def fitted(agent: Agent, num_tasks: int = 64, updates: int = 2000, seed: int = 0) -> Fitted:
    """Fits a likelihood to trials on training tasks of an agent's family, half of them its own and half lived at random.

    At random as well, since another member will act where this one never was. UsageError where what is seen is no vector.
    """
    tasks, config = agent.tasks, Sizes()
    require_vectors("a fitted likelihood", tasks)
    steps = steps_lived(agent, num_tasks, seed), steps_lived(Random(tasks), num_tasks, seed)
    lived = Steps(*(torch.cat(parts) for parts in zip(*steps, strict=True)))
    units = units_of(with_steps(no_scales(tasks, agent.device), lived))
    net = model_net(tasks, config, members=1, gaussian=True)
    net = bound(net, initial_weights(net, counter(seed, 0, "weights"), small_end(config), agent.device))
    optimiser, draws = Adam(net.parameters(), lr=1e-3), counter(seed, 0, "steps")
    begins(f"a likelihood of the family of {agent.name}", updates, "updates")
    for _ in range(updates):
        rows = torch.randint(len(lived.reward), (BATCH,), generator=draws).to(agent.device)
        loss = -density(net, units, Steps(*(part[rows] for part in lived))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        count({"updates": 1.0})
    return Fitted(net.requires_grad_(False), units, tasks)


def steps_lived(agent: Agent, num_tasks: int, seed: int) -> Steps:
    """The steps of an agent's trials on training tasks of its family, one after the other."""
    tasks = agent.tasks
    episodes = trials_on(agent, tasks, num_tasks, seed)
    parts = [steps_of(tasks, as_records(tasks, each, tasks.max_episode_steps)) for each in episodes]
    return Steps(*(torch.cat([getattr(part, name)[part.valid] for part in parts]) for name in Steps._fields))
