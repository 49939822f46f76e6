"""What a meta-iteration collects: its units of work, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data.rollout import Chosen, Lifetime, Plan, collect, collect_chosen, collect_lives, concatenate
from quickstudy.errors import UsageError
from quickstudy.ops.returns import episode_returns
from quickstudy.ops.senses import dtype_of
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import (
    Act,
    Experience,
    Learner,
    Metrics,
    Policy,
    Shard,
    TaskDistribution,
    Tasks,
    Transition,
    Work,
    begin_trial,
)


def require_shards(what: str, config: object, collected: str, at_most: str = "") -> None:
    """Raises UsageError where `shards` don't divide what is collected, or where that is more than another option says."""
    count, shards = (getattr(config, name) for name in (collected, "shards"))
    if count % shards:
        raise UsageError(f"{what}: {collected} ({count}) must be a multiple of shards ({shards})")
    if at_most and count > getattr(config, at_most):
        raise UsageError(f"{what}: {collected} ({count}) must be no more than {at_most} ({getattr(config, at_most)})")


def shards_of(learner: Learner, tasks: int) -> list[Shard]:
    """The units of work of a learner's meta-iteration, which share so many training tasks."""
    size, count = tasks // learner.config.shards, learner.config.shards
    return [Shard(learner.seed, learner.iteration, number, size, "train") for number in range(count)]


def trial_steps(tasks: TaskDistribution) -> int:
    """The steps of the longest trial."""
    return tasks.episodes_per_trial * tasks.max_episode_steps


def collected_trials(work: Work, learner: Learner, policy: Policy, tasks: int) -> Experience:
    """A trial on each of so many new training tasks, in one lane, under one policy whose memory alone adapts."""
    plan = Plan(policy, 1, trial_steps(learner.tasks), learner.tasks.episodes_per_trial)
    return concatenate(work.map(collect, plan, shards_of(learner, tasks)))


def collected_episodes(work: Work, learner: Learner, life: Lifetime, tasks: int | Tasks) -> list[Experience]:
    """Trials that adapt after each episode, an experience an episode: on so many new training tasks, or on given ones."""
    if isinstance(tasks, int):
        lives = work.map(collect_lives, life, shards_of(learner, tasks))
    else:
        lives = work.map(collect_chosen, Chosen(life, tasks), shards_of(learner, len(next(iter(tasks.values())))))
    return [concatenate(pieces) for pieces in zip(*lives, strict=True)]


def trial_metrics(tasks: TaskDistribution, experience: Experience) -> Metrics:
    """Steps and returns of whole trials."""
    transition, valid = experience.transition, experience.valid
    ended = transition.terminated | transition.truncated
    returns = episode_returns(transition.reward, ended, valid, tasks.episodes_per_trial).mean((0, 1))
    episodes = valid[..., 0].numel() * tasks.episodes_per_trial
    steps = float(valid.sum())
    return rollout_metrics(steps, returns.mean().item(), steps / episodes) | adaptation_metrics(returns.tolist())


def some_experience(tasks: TaskDistribution, device: str) -> Experience:
    """A step of one lane in which nothing happens, (1, 1, 1): what is made of experience looks like what is made of it."""
    space = tasks.observation_space
    seen = torch.zeros(1, 1, *(space.shape or ()), dtype=dtype_of(space), device=device)
    end = begin_trial(seen, tasks.action_space)
    info = {"dense_reward": end.reward}
    step = Transition(seen, seen, end.reward, end.terminated, end.truncated, info)
    blank = Experience(end, Act(end.action, None, {}), step, end.first, {}, end, {})
    return tree_map(lambda part: part[:, :, None], blank)._replace(end_percept=end)


def told_reward(experience: Experience) -> Float[Tensor, "task lane time"]:
    """The rewards as percepts tell them, also where those that a policy is trained on are scaled."""
    return experience.transition.info.get("raw_reward", experience.transition.reward)


def episode_return(experience: Experience) -> float:
    """The mean return of one episode, over tasks and lanes."""
    return float((experience.transition.reward * experience.valid).sum(-1).mean())


def rollout_metrics(timesteps: float, reward: float, length: float) -> Metrics:
    """Steps that were lived, and mean return and length of the episodes whose return meta-training improves."""
    return {"rollout/timesteps": timesteps, "rollout/ep_rew_mean": reward, "rollout/ep_len_mean": length}


def adaptation_metrics(returns: Sequence[float]) -> Metrics:
    """The mean return of each episode of the trial."""
    return {f"adapt/episode_{number}/return_mean": mean for number, mean in enumerate(returns, 1)}


def numbers(parts: dict[str, Tensor]) -> Metrics:
    """Parts of a loss as metrics."""
    return {name: part.item() for name, part in parts.items()}
