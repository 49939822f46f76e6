"""How well an agent adapts: one loop for every method, on held-out tasks, counted in episodes of the task itself."""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.arguments import checked, require_room
from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.errors import UsageError, require_counts
from quickstudy.families.making import called
from quickstudy.footprint import to_evaluate
from quickstudy.ops.tally import begins
from quickstudy.protocol import Agent, Shard, Site, Split, TaskDistribution
from quickstudy.scores import Evaluation, Scores, joined, joined_success
from quickstudy.tasks.figures import figures_of, of_episode
from quickstudy.tasks.parameters import parameters_of
from quickstudy.work import open_work

LANES_AT_ONCE = 1024
"""The lanes of a batch of tasks: part of the result, since each batch draws its own tasks, and since the size of a matrix
product can change its last bit."""


def score(site: Site, life: Lifetime, shard: Shard) -> Scores:
    """A unit of work: one trial on each task of a shard, every episode scored."""
    returns, success, told = [], [], False
    named = figures_of(site.distribution)
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    for experience in live(site, life, shard):
        transition, valid = experience.transition, experience.valid
        returns.append((transition.reward * valid).sum(-1))
        says = transition.info.get("success", torch.full_like(valid, -1, dtype=torch.int8))
        told = told or bool((says >= 0).any())
        success.append(((says > 0) & valid).any(-1).float())
        for name, figure in of_episode(named, transition.info, valid).items():
            found[name].append(figure.cpu())
    drawn = {name: value.cpu() for name, value in draw_tasks(site, shard).items()}
    succeeded = torch.stack(success, -1).mean(1).cpu() if told else None
    figures = {name: torch.stack(each, -1) for name, each in found.items()}
    return Scores(torch.stack(returns, -1).mean(1).cpu(), succeeded, figures, drawn)


@checked
def evaluate(
    agent: Agent,
    tasks: TaskDistribution | None = None,
    *,
    episodes: int | None = None,
    num_tasks: int = 100,
    split: Split = "test",
    seed: int = 0,
    greedy: bool = False,
    batch: int | None = None,
    adapt_episodes: int | None = None,
    frozen_episodes: int = 0,
    workers: int | str = 0,
    deadline: float = 600.0,
) -> Evaluation:
    """Adapts an agent to each of `num_tasks` tasks it has not seen, and scores every episode of its trials.

    `tasks` defaults to the distribution that the agent was made for, `episodes` to the trial's length. Actions are sampled
    as in training; `greedy` takes the most likely ones. The return of a task's episode is the mean over its lanes.

    Agents meet the same tasks where `num_tasks`, `split`, `seed` and `batch` are the same. `batch` is how many tasks are drawn
    and lived at once; by default that depends on the agent's lanes.

    With `adapt_episodes` and `frozen_episodes`, the agent adapts on so many episodes of each task, counted over its lanes, and
    then lives so many in which what it has learnt is frozen: each begins where adaptation ended. 10 and 3 are Meta-World's.

    `workers` processes, or Ray actors (`"ray"`, see `Training`), share the batches; they change the speed, never the result.
    One that is at a batch for more than `deadline` seconds is taken for hung.
    """
    require_counts("evaluate", 1, num_tasks=num_tasks, episodes=episodes, batch=batch, adapt_episodes=adapt_episodes)
    require_counts("evaluate", 0, frozen_episodes=frozen_episodes)
    if deadline <= 0:
        raise UsageError(f"evaluate: deadline is {deadline:g}, it must be more than 0 seconds")
    tasks = agent.tasks if tasks is None else tasks
    if adapt_episodes is not None:
        episodes = folds_of(adapt_episodes, agent, episodes)
    episodes = tasks.episodes_per_trial if episodes is None else episodes
    require_room("evaluate", to_evaluate(agent, tasks, num_tasks, batch), agent.device)
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes, greedy, frozen_episodes)
    lives = num_tasks * agent.lanes * (episodes + frozen_episodes)
    begins(f"{agent.name} on {num_tasks} {split} tasks", lives, "episodes")
    work = open_work(tasks, agent.device, workers, deadline=deadline)
    try:
        size = batch_of(agent.lanes) if batch is None else batch
        scores = work.map(score, life, shards_of(num_tasks, size, split, seed))
    finally:
        work.close()
    return Evaluation(
        algorithm=agent.name,
        tasks=called(tasks),
        agent_seed=getattr(agent, "seed", None),
        split=split,
        seed=seed,
        lanes=agent.lanes,
        greedy=greedy,
        trained_episodes=tasks.episodes_per_trial,
        splits=tasks.splits,
        returns=torch.cat([score.returns for score in scores]),
        success=joined_success(scores),
        figures=joined([score.figures for score in scores]),
        drawn=joined([score.drawn for score in scores]),
        frozen=frozen_episodes,
        parameters=parameters_of(tasks),
    )


def folds_of(adapt_episodes: int, agent: Agent, episodes: int | None) -> int:
    """How often an agent adapts to see so many episodes of a task; UsageError where that isn't a whole number of times."""
    if episodes is not None:
        raise UsageError("say either how many episodes a trial has or how many to adapt on, not both")
    if adapt_episodes % agent.lanes:
        raise UsageError(
            f"{agent.name} adapts on {agent.lanes} episodes of a task at once, so it can't adapt on {adapt_episodes};"
            f" take a multiple of {agent.lanes}, or train it with other lanes"
        )
    return adapt_episodes // agent.lanes


def batch_of(lanes: int) -> int:
    """How many tasks are drawn and lived at once by an agent with so many lanes."""
    return max(1, LANES_AT_ONCE // lanes)


def shards_of(num_tasks: int, batch: int, split: Split, seed: int) -> list[Shard]:
    """Divides an evaluation into batches of one size, the last one smaller."""
    sizes = [min(batch, num_tasks - start) for start in range(0, num_tasks, batch)]
    return [Shard(seed, 0, number, count, split) for number, count in enumerate(sizes)]
