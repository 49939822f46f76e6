"""NoRML: adapting without a reward (Yang et al. 2019, arXiv:1903.01063).

First weights adapt as MAML's do, by a gradient step on -A log pi, but A is what a network makes of an observation, an action
and where they led; a learned offset is added besides. First weights, that network, the offset and step sizes are learned
together, by PPO on the true rewards after adapting. What adapts reads none: it may be deployed where nobody pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Build, Weights, head, initial_weights, skeleton
from quickstudy.nets.reader import behind, inputs_for
from quickstudy.ops.features import as_vector, inputs_of, unit_vector, vector_size
from quickstudy.ops.policy_gradient import clipped_surrogate, masked_mean
from quickstudy.ops.senses import as_row, is_read
from quickstudy.ops.tree import under, within
from quickstudy.parts import gradient
from quickstudy.parts.collecting import numbers, require_shards
from quickstudy.parts.descend import descend
from quickstudy.parts.kept import kept_learned, take_learned
from quickstudy.protocol import Experience, Metrics, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What NoRML can be told."""

    meta_batch_size: int = 10
    """Tasks in a meta-iteration."""
    lanes: int = 25
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 1
    """Gradient steps of an adaptation in training, each on fresh episodes; the offset is added in the first."""
    inner_rate: float = 1.0
    """Step size of the inner steps to begin with; each parameter's is learned."""
    adapt: options.Adapt = "auto"
    num_context: options.NumContext = 2
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 50
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "tanh"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    gae_lambda: float = 1.0
    """Trace decay of the generalised advantage estimates."""
    n_epochs: int = 5
    """Outer steps on the collected episodes, adapting anew in each."""
    learning_rate: float = 3e-3
    """Adam's step size."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability after adapting."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "norml", self, "n_epochs", "shards", "meta_batch_size", "lanes", "inner_steps", "num_context")
        options.require_network("norml", self)
        require_rates("norml", self)
        require_shards("norml", self, "meta_batch_size")
        require_discounts("norml", self)


@checked
class NoRML:
    """Meta-trains first weights and what they learn from; adapting reads no reward. `net` is as `MAML` has it."""

    name = "norml"
    Config = Config

    def __init__(
        self,
        tasks: TaskDistribution,
        config: Config | None = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        net: Build | None = None,
    ):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        config = self.config
        self.lanes, self.iteration, self.own_net = config.lanes, 0, net is not None
        distribution = distribution_over(tasks.action_space)
        self.net = gradient.policy_net(self, distribution, config, net, options.context_numbers(config))
        self.inner = gradient.Inner(tasks, self.net, distribution, "none", False, config.gamma, config.gae_lambda)
        self.start = gradient.first_start(self, self.inner, config, config.inner_rate, True, config.adapt)
        told = inputs_for(tasks.observation_space, vector_size(tasks.action_space), config, looks=2)
        self.judge = behind(told.reader, skeleton(lambda: head(told.size, 1, config)))
        own, _ = self.start.divided()
        self.learned = {
            **self.start.learned(),
            **under("judge of ", initial_weights(self.judge, counter(seed, 0, "judge"), {}, device)),
            **under("offset of ", {name: torch.zeros_like(weight).requires_grad_() for name, weight in own.items()}),
        }
        self.optimiser = Adam(self.learned.values(), lr=config.learning_rate, eps=1e-5)

    def explorer(self) -> gradient.WeightedPolicy:
        return gradient.first_policy(self.inner, self.start)

    def adapt(self, policy: gradient.WeightedPolicy, experience: Experience) -> gradient.WeightedPolicy:
        """One inner step on the experience of each task, whatever was paid in it."""
        start = self.moved(policy.start, self.learned, self.judged(self.learned, experience), policy.axis)
        return replace(policy, start=start, axis=0)

    def moved(
        self, start: gradient.Start, learned: Weights, samples: gradient.Samples, axis: Literal[0] | None
    ) -> gradient.Start:
        """theta' = theta + offset + alpha grad mean(A log pi); the offset in the first step alone (section 4.2)."""
        after = gradient.adapted(self.inner, start, samples, axis)
        if axis is not None:
            return after
        offsets = within("offset of ", learned)
        return after._replace(
            weights={name: weight + offsets[name] if name in offsets else weight for name, weight in after.weights.items()}
        )

    def judged(
        self, learned: Weights, experience: Experience, inputs: Shaped[Tensor, "task lane time entry"] | None = None
    ) -> gradient.Samples:
        """Samples whose advantages are learned: of each observation, action and where they led.

        `inputs` are the observations as vectors, where a gradient is asked of those.
        """
        space, percept = self.tasks.observation_space, experience.percept
        inputs = inputs_of(space, percept.observation) if inputs is None else inputs
        action, led = unit_vector(self.tasks.action_space, experience.act.action), experience.transition.arrival
        if is_read(space):
            told = as_row(space, (percept.observation, led), action)
        else:
            told = torch.cat([inputs, action, as_vector(space, led)], dim=-1)
        advantage = functional_call(self.judge, within("judge of ", learned), (told,))[..., 0]
        act, log_prob = experience.act, cast(Tensor, experience.act.log_prob)
        first, valid = percept.first, experience.valid
        return gradient.Samples(inputs, act.action, log_prob, act.notes["parameters"], advantage, first, valid)

    def known(self, trial: Trial) -> Known:
        return gradient.known(trial)

    def descent(self, policy: gradient.WeightedPolicy, experience: Experience) -> Descent:
        return gradient.descent(self.inner, policy, self.judged(self.learned, experience))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        return gradient.retraced(
            self.inner,
            trial,
            task,
            lambda start, lived, inputs, axis: self.moved(start, self.learned, self.judged(self.learned, lived, inputs), axis),
        )

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        episodes, metrics = gradient.lived_stages(work, self, config.meta_batch_size, config.inner_steps)
        last, parts = gradient.samples_of(self.inner, episodes[-1]), dict[str, Tensor]()
        for _ in range(config.n_epochs):
            loss, parts = self.loss(episodes[:-1], last)
            [norm] = descend(self, loss, self.optimiser, self.learned.values(), max_norm=config.max_grad_norm)
            parts["train/grad_norm"] = norm
        self.iteration += 1
        return metrics | numbers(parts)

    def loss(self, taught: list[Experience], last: gradient.Samples) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """-min(rho A, clip(rho) A) after adapting, A of what was paid; its parts."""
        start, axis = self.start.moved_to(self.learned), None
        for experience in taught:
            start, axis = self.moved(start, self.learned, self.judged(self.learned, experience), axis), 0
        now, distribution = gradient.forward(self.net, start.weights, last.inputs, axis), self.inner.distribution
        log_prob = distribution.log_prob(now, last.action)
        loss = masked_mean(clipped_surrogate(log_prob, last.log_prob, last.advantage, self.config.clip_range), last.valid)
        kl = masked_mean(distribution.kl(last.parameters, now), last.valid)
        return loss, {"train/loss": loss.detach(), "train/approx_kl": kl.detach()}

    def state_dict(self) -> State:
        return kept_learned(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        take_learned(self, state)
