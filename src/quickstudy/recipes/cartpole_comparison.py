"""Learning each new cart-pole from nothing, beside a meta-trained agent that adapts to the same ones within its episodes.

Run it: python -m quickstudy.recipes.cartpole_comparison [--tasks N] [--seed S] [--run RUN]; --help tells the rest.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.errors import QuickstudyError, UsageError, require_at_least
from quickstudy.families import describe
from quickstudy.looks import LOOKS
from quickstudy.printed import say, tell
from quickstudy.protocol import Shard, Tasks
from quickstudy.recipes.cartpole_agent import EPISODES, ActorCritic, Config, Curve, Point, learn, returns
from quickstudy.recipes.tuned import built
from quickstudy.runs import warn_of
from quickstudy.runs.folder import free_folder, open_run
from quickstudy.training import train
from quickstudy.work import LocalSite, threads

BALANCED = 0.95
"""The share of the highest return from which a pole counts as balanced: 475 of 500."""
PARAMETERS = ("length", "pole_mass", "gravity", "force", "direction")
HEADS = (*PARAMETERS, "from nothing", "falls", "adapting", "falls", "ratio")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The agent from nothing beside a meta-trained RL2, on the same held-out cart-poles."""

    tasks: int = 5
    """Held-out cart-poles, each of which the agent from nothing learns anew."""
    seed: int = 0
    """Which cart-poles, which first weights and which luck."""
    run: Path | None = None
    """The folder of an RL2 that was meta-trained on cart-poles; without one it is meta-trained first."""
    picture: Path | None = None
    """Where the learning curves go (default: into the run's folder)."""
    agent: Annotated[Config, tyro.conf.OmitArgPrefixes] = field(default_factory=Config)

    def __post_init__(self) -> None:
        require_at_least(1, "cartpole-comparison", self, "tasks")


def adapt(learner: RL2, count: int, seed: int) -> tuple[Tasks, list[Curve]]:
    """Draws held-out tasks and lives `EPISODES` trials on each, side by side; a point for each task and episode.

    The lanes are lives apart: RL2 adapts in its memory and pools nothing.
    """
    site, shard = LocalSite(learner.tasks), Shard(seed, 0, 0, count, "test")
    life = Lifetime(learner.explorer(), learner.adapt, EPISODES, learner.tasks.episodes_per_trial)
    curves: list[Curve] = [[] for _ in range(count)]
    steps, falls = torch.zeros(2, count).unbind()
    for experience in live(site, life, shard):
        valid = experience.valid
        steps = steps + valid.sum(-1).float().mean(-1)
        falls = falls + (experience.transition.terminated & valid).sum(-1).float().mean(-1)
        for curve, point in zip(curves, torch.stack([steps, falls, returns(experience)], -1).tolist(), strict=True):
            curve.append(Point(*point))
    return draw_tasks(site, shard), curves


def balanced(curve: Sequence[Point], threshold: float) -> Point:
    """The first point at which the pole is balanced; one of infinitely many steps and falls where it never was."""
    return next((point for point in curve if point.score >= threshold), Point(math.inf, math.inf, threshold))


def medians(points: Sequence[Point]) -> Point:
    """The median of each figure."""
    return Point._make(map(statistics.median, zip(*points, strict=True)))


def table_line(names: Sequence[str], learnt: Point, adapted: Point, limits: tuple[int, int]) -> str:
    """A task, and the steps and falls after which its pole was balanced; `> n` where it wasn't within the limit."""
    cells = list(names)
    for point, limit in zip((learnt, adapted), limits, strict=True):
        cells += [f"{point.steps:,.0f}", f"{point.falls:.0f}"] if math.isfinite(point.steps) else [f"> {limit:,}", "-"]
    cells.append(f"{learnt.steps / adapted.steps:.1f}" if math.isfinite(max(learnt.steps, adapted.steps)) else "-")
    return "  ".join(cell.rjust(len(head)) for head, cell in zip(HEADS, cells, strict=True))


def plot(learning: Sequence[Curve], adapting: Sequence[Curve], threshold: float, paid: int, path: Path) -> None:
    """Saves both agents' curves on every task against the steps on it, and where what meta-training cost would lie."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("pictures need matplotlib; install it: pip install 'quickstudy[plot]'") from error
    figure = Figure(figsize=(7.5, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    agents = {"from nothing, an actor-critic a task": learning, "RL2, adapting within its episodes": adapting}
    nothing, adapted, reference = (LOOKS[name].light for name in ("from-scratch", "rl2", "optimal"))
    for (label, curves), color, marker in zip(agents.items(), (nothing, adapted), "os", strict=True):
        for curve in curves:
            axes.plot([p.steps for p in curve], [p.score for p in curve], color=color, alpha=0.7, linewidth=1.2)
        ends = [p for p in (balanced(curve, threshold) for curve in curves) if math.isfinite(p.steps)]
        axes.plot([p.steps for p in ends], [p.score for p in ends], marker, color=color, label=label)
    axes.axhline(threshold, color=reference, linewidth=0.8, linestyle="--", label=f"balanced: {threshold:g}")
    axes.axvline(paid, color=adapted, linewidth=1.2, linestyle=":", label=f"RL2's meta-training, once: {paid:,} steps")
    axes.set(title=f"{len(learning)} held-out cart-poles, learnt from nothing and adapted to", xscale="log", ylim=(0, None))
    axes.set(xlabel="environment steps on the task", ylabel=f"return of an episode (mean of {EPISODES})")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def meta_trained(run: Path | None, seed: int) -> tuple[RL2, int, Path]:
    """An RL2 that knows cart-poles, the environment steps that its meta-training took, and the run's folder."""
    if run is None:
        recipe, run = built("cart-pole/rl2", seed), free_folder(Path("runs") / "cartpole-comparison")
        say("meta-training RL2, the price paid once, some ten minutes; later, name the run with --run")
        train(recipe.learner, recipe.iterations, run, command="python -m quickstudy.recipes.cartpole_comparison", threads=1)
    _, learner, progress, complaints = open_run(run, None)
    warn_of(complaints)
    described = describe(learner.tasks)
    if not isinstance(learner, RL2) or described is None or described[0] != "cart-pole":
        raise UsageError(f"{run} is no run of rl2 on cart-pole; leave --run out to make one")
    return learner, progress.timesteps, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Learns each task from nothing, adapts to the same ones, prints a line for each and saves the picture."""
    began, given = (
        time.monotonic(),
        tyro.cli(Comparison, args=arguments, prog="python -m quickstudy.recipes.cartpole_comparison"),
    )
    learner, paid, run = meta_trained(given.run, given.seed)
    longest = learner.tasks.max_episode_steps
    threshold, limits = BALANCED * longest, (given.agent.max_steps, longest * learner.tasks.episodes_per_trial)
    tell(f"steps on each task, and falls of its pole, until the mean return of {EPISODES} episodes is {threshold:g}")
    tell("  ".join(HEADS))
    tasks, adapting = adapt(learner, given.tasks, given.seed)
    learning: list[Curve] = []
    for number, lived in enumerate(adapting):
        task, curve = {name: value[number : number + 1] for name, value in tasks.items()}, []
        agent = ActorCritic(learner.tasks, given.agent, given.seed, number)
        with threads(1), Console(stderr=True).status("learning from nothing") as status:
            for point in learn(agent, task, given.seed, number):
                curve.append(point)
                status.update(f"task {number + 1} from nothing: return {point.score:.0f} after {point.steps:,} steps")
                if point.score >= threshold:
                    break
        learning.append(curve)
        names = [f"{task[name].item():.2f}" for name in PARAMETERS]
        tell(table_line(names, balanced(curve, threshold), balanced(lived, threshold), limits))
    learnt, adapted = (medians([balanced(curve, threshold) for curve in curves]) for curves in (learning, adapting))
    price = paid / min(learnt.steps, given.agent.max_steps)
    tell(
        f"{table_line(['median', '', '', '', ''], learnt, adapted, limits)}\n"
        f"\nfrom nothing: most likely actions, evaluated every {given.agent.eval_freq:,} steps; evaluations' steps don't count"
        f"\nadapting: sampled actions, {EPISODES} lives of RL2, counted to the episode's end: {threshold:g} steps is the least"
        f"\nRL2's meta-training took {paid:,} steps, once: as many as {price:,.0f} tasks from nothing"
    )
    picture = given.picture or run / "cartpole_comparison.png"
    plot(learning, adapting, threshold, paid, picture)
    tell(f"\nthe curves as a picture: {picture}\nall of it took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
    except QuickstudyError as error:
        say(f"error: {error}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
