"""Libraries on two families of bandits, beside the exact answer, members and RL2: writes the tables of docs/libraries.md.

    python benchmarks/libraries.py --rl2 runs/both [--num-tasks 4000]
    python benchmarks/libraries.py                   # policy reuse alone, in many short episodes

The run is RL2 on both families:

    quickstudy train rl2 benchmarks/two_bandits.py:BOTH --trials 256 --learning-rate 0.003 --minibatch-trials 64 \\
        --iterations 60 --anneal-iterations 60 --evaluate-every 0 --run runs/both
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Generator, Tensor
from two_bandits import BOTH, LEFT, MIDDLE, RIGHT, Arms, Prior

import quickstudy as qs
from quickstudy.libraries.foresight import beta_arms
from quickstudy.libraries.reuse import Choose
from quickstudy.ops.statistics import mean_interval
from quickstudy.oracles.agent import Oracle
from quickstudy.oracles.bandits import IndexPolicy, Record, Scores, numpy_generator
from quickstudy.storage import write_atomically
from quickstudy.tasks.native import NativeTasks

PAGE = Path(__file__).parents[1] / "docs" / "libraries.md"
END = "<!-- end -->"


@dataclass(frozen=True)
class Sampled:
    """Thompson sampling of several families at once: a family from the posterior, then its arms from theirs."""

    priors: tuple[Prior, ...]

    def __call__(self, record: Record, generator: Generator | None) -> Tensor:
        assert generator is not None, "this oracle draws"
        draws, logs = numpy_generator(generator), []
        failed, paid = (record.pulls - record.paid)[..., None, :], record.paid[..., None, :]
        a, b = torch.tensor(self.priors, dtype=torch.float64).unbind(-1)
        for one, other, sign in ((a + paid, b + failed, 1), (a.expand_as(a + paid), b.expand_as(b + failed), -1)):
            logs.append(sign * (one.lgamma() + other.lgamma() - (one + other).lgamma()).sum(-1))
        chances = sum(logs).softmax(-1)  # pyright: ignore[reportAttributeAccessIssue]
        share = torch.from_numpy(draws.random(chances.shape[:-1]))[..., None]
        family = (chances.cumsum(-1) < share).sum(-1).clamp(max=len(self.priors) - 1)
        return torch.from_numpy(draws.beta((a[family] + record.paid).numpy(), (b[family] + record.pulls - record.paid).numpy()))


@dataclass(frozen=True)
class Best:
    """One arm, whatever it pays."""

    arm: int

    def __call__(self, record: Record, generator: Generator | None) -> Tensor:
        return torch.nn.functional.one_hot(
            torch.full_like(record.pulls[..., 0], self.arm).long(), record.pulls.shape[-1]
        ).double()


def sampling(tasks: Any, *priors: Prior) -> Oracle:
    """An agent that samples the posterior of these families."""
    scores: Scores = Sampled(priors)
    return Oracle("thompson-sampling", tasks, IndexPolicy(len(priors[0]), scores))


def agents(tasks: Any, run: str) -> dict[str, Any]:
    """Each row of the table with its agent."""
    members = [sampling(tasks, LEFT), sampling(tasks, RIGHT)]
    told = [beta_arms(LEFT), beta_arms(RIGHT)]
    rl2 = qs.load(run, BOTH)
    return {
        "the exact mixture: Thompson sampling of both families at once": sampling(tasks, LEFT, RIGHT),
        "library, `bayes`": qs.Library(tasks, members, qs.Weighing(weights="bayes"), foresights=told),
        "library, `bayes`, floor 0.05": qs.Library(tasks, members, qs.Weighing(weights="bayes", floor=0.05), foresights=told),
        "library, `exp4`, floor 0.1": qs.Library(tasks, members, qs.Weighing(weights="exp4")),
        "library, `exp4`, floor 0.5": qs.Library(tasks, members, qs.Weighing(weights="exp4", floor=0.5)),
        "library, `greedy`: the literal form": qs.Library(tasks, members, qs.Weighing(weights="greedy")),
        "member of the left family": members[0],
        "member of the right family": members[1],
        "Thompson sampling on uniform priors": sampling(tasks, ((1, 1),) * len(LEFT)),
        "RL2, trained on both families": rl2,
        "random": qs.Random(tasks),
    }


def cell(returns: Tensor) -> str:
    """A mean with its interval over tasks."""
    low, high = mean_interval(returns.numpy()[None])
    return f"{float(np.mean(returns.numpy())):.2f} [{low:.2f}, {high:.2f}]"


def written(mark: str, lines: list[str]) -> None:
    """Puts a table between its two marks."""
    text, begin = PAGE.read_text(), f"<!-- {mark} -->\n"
    before, after = text.split(begin)
    write_atomically(PAGE, before + begin + "\n".join(lines) + "\n" + after[after.index(END) :])


def whole_trials(run: str, num_tasks: int) -> None:
    """One episode of 100 pulls, in which weights may move at each."""
    outside = NativeTasks(Arms((MIDDLE,)))
    lines = ["| agent | both families | the family outside |", "| --- | --- | --- |"]
    rows = {
        name: [qs.evaluate(agents(tasks, run)[name], tasks, num_tasks=num_tasks).returns.sum(1) for tasks in (BOTH, outside)]
        for name in agents(BOTH, run)
    }
    for name, (inside, beyond) in sorted(rows.items(), key=lambda row: -float(row[1][0].mean())):
        lines.append(f"| {name} | {cell(inside)} | {cell(beyond)} |")
        print(lines[-1], flush=True)
    written("table", lines)


def reused(num_tasks: int) -> None:
    """Twenty episodes of five pulls, with a member for each: what reuse earns as it chooses, and as its belief moves."""
    both, *own = (NativeTasks(Arms(families, 5, 20)) for families in ((LEFT, RIGHT), (LEFT,), (RIGHT,)))
    # members pull the arm that is best on average in their family: what they return never changes
    members = [
        Oracle("the best arm on average", tasks, IndexPolicy(5, Best(arm))) for tasks, arm in zip(own, (0, 4), strict=True)
    ]
    told = [beta_arms(LEFT), beta_arms(RIGHT)]
    rows: dict[str, Any] = {"member of the left family": members[0], "random": qs.Random(both)}
    for choose in get_args(Choose):
        reuse = qs.Weighing(weights="reuse", choose=choose, measured_tasks=2000)
        rows[f"`reuse` by returns, {choose}"] = qs.Library(both, members, reuse)
    steps = qs.Weighing(weights="reuse", choose="greedy", signal="steps", measured_tasks=2000)
    rows["`reuse` by steps, greedy"] = qs.Library(both, members, steps, foresights=told)
    rows["`bayes`"] = qs.Library(both, members, qs.Weighing(weights="bayes"), foresights=told)
    lines = ["| agent | first episode | second | fifth | all twenty |", "| --- | --- | --- | --- | --- |"]
    for name, agent in rows.items():
        returns = qs.evaluate(agent, both, num_tasks=num_tasks).returns
        lines.append(f"| {name} | {' | '.join(map(cell, (returns[:, 0], returns[:, 1], returns[:, 4], returns.sum(1))))} |")
        print(lines[-1], flush=True)
    written("reuse", lines)


def main() -> None:
    """Writes the tables between their marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rl2", metavar="RUN")
    parser.add_argument("--num-tasks", type=int, default=4000)
    given = parser.parse_args()
    if given.rl2:
        whole_trials(given.rl2, given.num_tasks)
    reused(given.num_tasks)


if __name__ == "__main__":
    main()
