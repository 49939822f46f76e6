"""Libraries on two families of bandits, beside the exact answer, members and RL2: writes the table of docs/libraries.md.

    python benchmarks/libraries.py --rl2 runs/both [--num-tasks 4000]

The run is RL2 on both families:

    quickstudy train rl2 benchmarks/two_bandits.py:BOTH --trials 256 --learning-rate 0.003 --minibatch-trials 64 \\
        --iterations 60 --anneal-iterations 60 --evaluate-every 0 --run runs/both
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from two_bandits import BOTH, LEFT, MIDDLE, RIGHT, Arms, Prior

import quickstudy as qs
from quickstudy.libraries.foresight import beta_arms
from quickstudy.ops.statistics import mean_interval
from quickstudy.oracles.agent import Oracle
from quickstudy.oracles.bandits import IndexPolicy, Record, Scores, numpy_generator
from quickstudy.storage import write_atomically
from quickstudy.tasks.native import NativeTasks

PAGE = Path(__file__).parents[1] / "docs" / "libraries.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->"


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


def main() -> None:
    """Writes the table between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rl2", required=True, metavar="RUN")
    parser.add_argument("--num-tasks", type=int, default=4000)
    given = parser.parse_args()
    outside = NativeTasks(Arms((MIDDLE,)))
    lines = ["| agent | both families | the family outside |", "| --- | --- | --- |"]
    rows = {
        name: [
            qs.evaluate(agents(tasks, given.rl2)[name], tasks, num_tasks=given.num_tasks).returns.sum(1)
            for tasks in (BOTH, outside)
        ]
        for name in agents(BOTH, given.rl2)
    }
    for name, (inside, beyond) in sorted(rows.items(), key=lambda row: -float(row[1][0].mean())):
        lines.append(f"| {name} | {cell(inside)} | {cell(beyond)} |")
        print(lines[-1], flush=True)
    before, after = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
    write_atomically(PAGE, before + BEGIN + "\n".join(lines) + "\n" + END + after)


if __name__ == "__main__":
    main()
