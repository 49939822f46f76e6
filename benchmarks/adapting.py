"""What adapts by gradient, and how well: every method of the family on the same tasks, with as many episodes.

    python benchmarks/adapting.py                              # every cell that is not there yet, then the page
    python benchmarks/adapting.py --only point-navigation      # the cells of one family
    python benchmarks/adapting.py --table                      # the page alone

A cell is a method, a family and a seed. A finished one is a JSON file in docs/results/adapting, which holds its settings:
change them, and it is trained anew. The page is docs/results/adapting.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gradients import row
from results import operations_of

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.ops.statistics import mean_interval
from quickstudy.protocol import Agent, TaskDistribution
from quickstudy.storage import write_atomically
from quickstudy.work import InProcess
from quickstudy.wrappers.normalised import Normalised

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
RESULTS, PAGE, PICTURE = FOLDER / "adapting", FOLDER / "adapting.md", FOLDER / "adapting.png"
PPO = {"learning_rate": 3e-3}


class Method(NamedTuple):
    """A row of the table."""

    algorithm: str
    settings: Mapping[str, Any]


class Family(NamedTuple):
    """A table."""

    name: str
    says: str
    options: Mapping[str, Any]
    seeds: int
    num_tasks: int
    rate: float
    """Of inner steps."""
    methods: tuple[str, ...]
    normalised: bool = False
    steps: int = 1_000_000
    """Environment steps of a training: 50 meta-iterations of MAML's on episodes of 100 steps."""


TASKS, LANES = 10, 10
"""Of a meta-iteration, where a method has lanes."""
LATER = 3
"""Inner steps at test."""
METHODS = {
    "MAML": Method("maml", PPO),
    "MAML, TRPO": Method("maml", {"outer": "trpo"}),
    "MAML, path (DiCE)": Method("maml", PPO | {"inner_ratio": "path"}),
    "MAML, lambda .5": Method("maml", PPO | {"inner_ratio": "path", "ratio_lambda": 0.5}),
    "FOMAML": Method("maml", PPO | {"first_order": True}),
    "E-MAML": Method("maml", PPO | {"teaching_credit": True}),
    "Meta-SGD": Method("maml", PPO | {"learn_inner_rate": True}),
    "ANIL": Method("maml", PPO | {"adapt": "head"}),
    "CAVIA": Method("maml", PPO | {"adapt": "context"}),
    "biases": Method("maml", PPO | {"adapt": "biases"}),
    "ProMP": Method("promp", PPO),
    "ProMP, adaptive": Method("promp", PPO | {"target_kl": 0.01}),
    "Reptile": Method("reptile", {"inner_steps": 3}),
    "averaging": Method("reptile", {"inner_steps": 3, "outer_rate": 1.0}),
    "NoRML": Method("norml", PPO),
    "ES-MAML": Method("es-maml", {}),
    "RL2": Method("rl2", {"ent_coef": 0.0}),
    "multi-task": Method("multi-task", {"ent_coef": 0.0}),
}
FEW = ("MAML", "ProMP", "ANIL", "Reptile")
EVERY = tuple(name for name in METHODS if name != "NoRML")
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "point-navigation",
            "Goals in a square of side 1, dense reward, episodes of 100 steps.",
            {"episodes_per_trial": 4},
            3,
            200,
            1.0,
            EVERY,
        ),
        Family(
            "point-navigation-turned",
            "A goal that is known, axes turned by a hidden angle; episodes of 10 steps. NoRML reads no reward at test.",
            {"layout": "turned", "max_episode_steps": 10, "episodes_per_trial": 4},
            3,
            200,
            1.0,
            ("NoRML", "MAML", "multi-task"),
            steps=300_000,
        ),
        Family(
            "half-cheetah-direction",
            "Forward or backward, hidden; episodes of 100 steps, observations normalised.",
            {"max_episode_steps": 100, "episodes_per_trial": 4},
            1,
            100,
            0.3,
            FEW,
            normalised=True,
        ),
        Family(
            "glucose",
            "Insulin for a patient whose body is hidden; an episode is a day, a step of adapting learns from ten days.",
            {"episodes_per_trial": 4},
            1,
            60,
            0.3,
            FEW,
            steps=250_000,
        ),
    )
}
"""Every table, by its name."""


def tasks_of(family: Family) -> TaskDistribution:
    """What is trained on."""
    name = "point-navigation" if family.name.startswith("point-navigation") else family.name
    return qs.tasks.make(name, **family.options)


class Cell(NamedTuple):
    """A file of the results."""

    family: Family
    method: str
    seed: int

    @property
    def path(self) -> Path:
        """Where its figures stand."""
        name = "".join(letter if letter.isalnum() else "-" for letter in self.method.lower()).replace("--", "-").strip("-")
        return RESULTS / self.family.name / f"{name}-seed{self.seed}.json"


def settings_of(cell: Cell) -> dict[str, Any]:
    """All that decides a cell's figures."""
    method, family = METHODS[cell.method], cell.family
    shape: dict[str, Any] = {"trials": 50} if method.algorithm == "rl2" else {}
    if method.algorithm not in ("rl2", "multi-task"):
        shape = {"meta_batch_size": TASKS, "lanes": LANES, "inner_rate": family.rate}
    if method.algorithm in ("maml", "promp"):
        shape["later_rate_share"] = 0.5
    return {
        "algorithm": method.algorithm,
        "settings": shape | dict(method.settings),
        "options": dict(family.options),
        "normalised": family.normalised,
        "steps": family.steps,
        "num_tasks": family.num_tasks,
        "seed": cell.seed,
    }


def cells_of(names: list[str]) -> list[Cell]:
    """Every cell, the first seed of all first."""
    families = [FAMILIES[name] for name in names]
    found = [Cell(family, method, seed) for family in families for seed in range(family.seeds) for method in family.methods]
    return sorted(found, key=lambda cell: cell.seed)


def finished(cell: Cell) -> dict[str, Any] | None:
    """What is stored of a cell as it is configured today."""
    stored = json.loads(cell.path.read_text()) if cell.path.exists() else None
    return stored if stored and stored["of"] == settings_of(cell) else None


def measure(cell: Cell) -> dict[str, Any]:
    """Trains and scores; returns what the cell's file holds."""
    settings = settings_of(cell)
    entry, tasks = ALGORITHMS[settings["algorithm"]], tasks_of(cell.family)
    plain: Any = entry.make(tasks, entry.config(**settings["settings"]), seed=cell.seed)
    learner: Any = Normalised(plain, qs.Normalisation(normalise_observation=True)) if cell.family.normalised else plain
    work, lived, begun, curve = InProcess(tasks), 0.0, time.process_time(), list[list[float]]()
    while lived < cell.family.steps:
        metrics = learner.train_step(work)
        lived += metrics["rollout/timesteps"]
        curve.append([lived, time.process_time() - begun, metrics["rollout/ep_rew_mean"]])
    seconds = time.process_time() - begun
    evaluation = scored(learner, cell.family)
    found = {"of": settings, "seconds": seconds, "curve": curve, "held": held(plain), "passes": passes(plain)}
    return found | evaluation


def scored(agent: Agent, family: Family) -> dict[str, Any]:
    """Returns (task, inner step) and success after none, one, two and three steps, or as many episodes of one lane."""
    stages = range(LATER + 1) if agent.lanes > 1 else range(0, LATER * LANES + 1, LANES)
    result = qs.evaluate(agent, num_tasks=family.num_tasks, episodes=stages[-1] + 1, batch=50)
    success = None if result.success is None else result.success[:, list(stages)].double().mean(0).tolist()
    rows = [[float(f"{value:.4g}") for value in row] for row in result.returns[:, list(stages)].tolist()]
    return {"returns": rows, "success": success}


def held(learner: Any) -> int | None:
    """Numbers that are a user's own once adapted: weights, or what a memory holds; None where nothing adapts."""
    if hasattr(learner, "start"):
        own, _ = learner.start.divided()
        return sum(weight.numel() for weight in own.values())
    memory = learner.explorer().initial_memory(1, 1)
    return sum(value.numel() for value in memory.values()) or None


def passes(learner: Any) -> float | None:
    """What a meta-iteration computes, in forward passes of its policy over all that it lives."""
    if not hasattr(learner, "start"):
        return None
    layers = [weight for weight in learner.start.weights.values() if weight.dim() == 2]
    forward = 2 * sum(weight.numel() for weight in layers)
    return operations_of(learner, 1) / forward


def table(family: Family) -> list[str]:
    """A row for each method that was trained."""
    head = ("method", *(f"after {count}" for count in range(LATER + 1)), "succeeds after 1", "seeds", "s per M steps", "passes")
    lines = [row(*head, "held"), row(*["---"] * (len(head) + 1))]
    for method in family.methods:
        found = [each for seed in range(family.seeds) if (each := finished(Cell(family, method, seed)))]
        if not found:
            continue
        returns = np.array([each["returns"] for each in found])  # (seed, task, step)
        means = []
        for step in range(LATER + 1):
            low, high = mean_interval(returns[:, :, step])
            means.append(f"{returns[:, :, step].mean():.1f} [{low:.1f}, {high:.1f}]")
        success = None if found[0]["success"] is None else np.mean([each["success"][1] for each in found])
        seconds = np.mean([1e6 * each["seconds"] / each["curve"][-1][0] for each in found])
        told = [success, seconds, found[0]["passes"], found[0]["held"]]
        last = [form.format(value) if value is not None else "-" for form, value in zip(FORMS, told, strict=True)]
        lines.append(row(method, *means, last[0], str(len(found)), *last[1:]))
    return lines


FORMS = "{:.2f}", "{:.0f}", "{:.1f}", "{:,}"


def draw(family: Family) -> None:
    """The return after adapting, in training, against seconds of a core."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for method, style in (("ProMP", "-"), ("MAML", "-"), ("MAML, TRPO", "--"), ("FOMAML", ":")):
        found = [each for seed in range(family.seeds) if (each := finished(Cell(family, method, seed)))]
        for number, each in enumerate(found):
            _, seconds, returns = np.array(each["curve"]).T
            mean = np.convolve(returns, np.ones(5) / 5, "valid")
            color = {"ProMP": "C0", "MAML": "C1", "MAML, TRPO": "C2", "FOMAML": "C3"}[method]
            axes.plot(seconds[4:], mean, style, color=color, linewidth=1.2, label=method if not number else None)
    axes.set(xlabel="seconds of a core", ylabel="return after one step, in training", title=family.name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=110)
    pyplot.close(figure)


HEAD = """# Adapting by gradient, side by side

    python benchmarks/adapting.py

Every method of the family on the same tasks, with about the same environment steps, by one set of numbers: 10 tasks in a
meta-iteration, 10 episodes for an inner step, one inner step in training (three for Reptile and averaging, which need them),
inner rates as each table's head says, half of that after the first step in MAML's and ProMP's rows, as in MAML's paper, Adam at
0.003 where PPO moves the first weights. They are not tuned one by one: recipes are (`quickstudy list recipes`), and
[results](../results.md) has what those reach.

*After k* is the return on held-out tasks after k inner steps, so after 10 k episodes of the task; RL2 and multi-task live one
lane, and are scored in their 1st, 11th, 21st and 31st episode, as many as were seen by then. More steps than were trained are
extrapolation. Means with 95 % intervals over seeds and tasks, of one seed over tasks only. *Passes* is what a meta-iteration
computes, in forward passes of the policy over all steps that it lives; seconds are of a core, on a machine that did
other things besides. *Held* is how many numbers are a user's own once adapted.
"""


def write_page() -> None:
    """Tables of what there is, and the picture."""
    parts = [HEAD]
    for family in FAMILIES.values():
        lines = table(family)
        if len(lines) > 2:
            rate = f" Inner rate {family.rate:g}; {family.steps:,} steps."
            parts.append(f"## {family.name}\n\n{family.says}{rate}\n\n" + "\n".join(lines) + "\n")
            if family.name == "point-navigation":
                draw(family)
                parts.append("![Return after one inner step against seconds of a core, a line for each seed](adapting.png)\n")
    write_atomically(PAGE, "\n".join(parts))


def main() -> None:
    """Trains what is missing, cell by cell, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=FAMILIES, nargs="+", default=list(FAMILIES), help="these families alone")
    parser.add_argument("--table", action="store_true", help="write the page from what there is, and stop")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for cell in [] if given.table else cells_of(given.only):
        if finished(cell) is None:
            found = measure(cell)
            cell.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(cell.path, json.dumps(found, separators=(",", ":")) + "\n")
            means = torch.tensor(found["returns"]).mean(0).tolist()
            print(f"{cell.family.name}, {cell.method}, seed {cell.seed}: {means} {found['seconds']:.0f} s", flush=True)
    write_page()


if __name__ == "__main__":
    main()
