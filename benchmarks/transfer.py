"""What runs are worth on other tasks: fine-tuned, as they adapt, and beside who begins from nothing.

    python benchmarks/transfer.py                            # every case that is not there yet, then page and picture
    python benchmarks/transfer.py --only half-cheetah        # one case
    python benchmarks/transfer.py --page                     # page and picture alone

A case is a JSON file in docs/results/transfer, which holds its settings; change them, and it is measured anew. The page is
docs/results/transfer.md, the picture docs/results/transfer.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

import quickstudy as qs
from quickstudy.algorithms import algorithm
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.scores import with_ends
from quickstudy.storage import write_atomically
from quickstudy.tasks.parameters import Parameter, Uniform
from quickstudy.work.local import InProcess

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "transfer"


@dataclass(frozen=True, kw_only=True)
class LongPoles(CartPole):
    """The cart-pole with poles that are longer than any of the family's own."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {**super().parameters, "length": Uniform(1.25, 2.5)}


class Case(NamedTuple):
    """From where to where, and how long."""

    source: tuple[str, Mapping[str, Any]]
    target: tuple[str, Mapping[str, Any]]
    """A family with its options."""
    learners: Mapping[str, tuple[int, Mapping[str, Any]]]
    """Runs on the source, each with its meta-iterations and what differs from its defaults."""
    budget: int
    num_tasks: int
    seeds: int = 3
    how: Mapping[str, Any] = {}
    sequence: bool = False
    """Whether the tasks are learnt one after another as well."""


POINT = {"max_episode_steps": 50}
CART = {"max_episode_steps": 200}
HALF = ("point-navigation", {**POINT, "layout": "half-circle"})
CHEETAH = {"max_episode_steps": 100}
CASES = {
    "cart-pole, to longer poles": Case(("cart-pole", CART), ("longer poles", CART), {"multi-task": (20, {})}, 24_000, 3),
    "point-navigation, square to half-circle": Case(
        ("point-navigation", POINT), HALF, {"multi-task": (20, {}), "rl2": (20, {"trials": 32})}, 8_000, 2
    ),
    "half-cheetah, velocity to direction": Case(
        ("half-cheetah-velocity", CHEETAH), ("half-cheetah-direction", CHEETAH), {"multi-task": (15, {})}, 16_000, 2
    ),
    "cart-pole, to one that changes in mid-episode (other spaces)": Case(
        ("cart-pole", CART), ("cart-pole", {**CART, "changes": True}), {"multi-task": (20, {})}, 16_000, 2
    ),
    "point-navigation, square to half-circle, deviation reset": Case(
        ("point-navigation", POINT),
        HALF,
        {"multi-task": (20, {})},
        8_000,
        2,
        how={"reset_deviation": True},
        sequence=True,
    ),
}


def tasks_of(name: str, options: Mapping[str, Any]) -> TaskDistribution:
    """A family by name, or the longer poles."""
    return qs.NativeTasks(LongPoles(**options)) if name == "longer poles" else qs.tasks.make(name, **options)


def trained(
    name: str, tasks: TaskDistribution, iterations: int, options: Mapping[str, Any], seed: int
) -> tuple[Learner, float]:
    """A run on the source, and the steps that it took."""
    entry = algorithm(name)
    learner, work, steps = entry.make(tasks, entry.config(**options), seed=seed), InProcess(tasks), 0.0
    for _ in range(iterations):
        steps += learner.train_step(work)["rollout/timesteps"]
    return learner, steps


def measured(name: str) -> dict[str, Any]:
    """What a case comes to, from its file where that has the same settings."""
    case, file = CASES[name], FOLDER / f"{name}.json"
    settings = json.loads(json.dumps(case._asdict()))
    if file.exists() and (stored := json.loads(file.read_text()))["settings"] == settings:
        return stored
    began, source, target = time.process_time(), tasks_of(*case.source), tasks_of(*case.target)
    runs: dict[str, list[Learner]] = {}
    steps: dict[str, float] = {}
    for learner, (iterations, options) in case.learners.items():
        found = [trained(learner, source, iterations, options, seed) for seed in range(case.seeds)]
        runs[learner], steps[learner] = [each for each, _ in found], found[0][1]
    middle = time.process_time()
    how = qs.FineTuning(**case.how)
    result = qs.transfer(runs, target, how, budget=case.budget, num_tasks=case.num_tasks, seeds=case.seeds, trained_steps=steps)
    print(f"{name}\n{result}\n", flush=True)
    told: dict[str, Any] = {"settings": settings, "how": asdict(how), "transfer": result.as_json()}
    if case.sequence:
        sequence = qs.transfer_sequence(runs, target, how, budget=case.budget, num_tasks=case.num_tasks, seeds=case.seeds)
        print(f"{sequence}\n", flush=True)
        told["sequence"] = sequence.as_json()
    told["minutes"] = [(middle - began) / 60, (time.process_time() - middle) / 60]
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(told).encode())
    return told


def stored() -> dict[str, dict[str, Any]]:
    """The cases that there are."""
    return {name: json.loads(file.read_text()) for name in CASES if (file := FOLDER / f"{name}.json").exists()}


def cells_of(found: Mapping[str, Any]) -> list[str]:
    """The rows of a case's table."""
    rows = ["| way to learn | first return | last tenth | area | area less scratch's | transfer ratio | steps to threshold |"]
    rows[0] += " meta-training | tasks until paid | forgotten |"
    rows.append("| --- " * 10 + "|")
    for arm in found["arms"]:
        reached, more = arm["steps_to_threshold"], arm.get("more_than_scratch")
        told = [arm["name"], *(with_ends(arm[name]) for name in ("jump_start", "asymptote", "area"))]
        told += [with_ends(more["area"]), ratio(more["transfer_ratio"])] if more else ["", ""]
        told += [f">{found['budget']:,}" if reached is None else f"{reached:,.0f}"]
        told += [f"{arm['trained_steps']:,.0f}" if more else "", paid(more, found["arms"][0]) if more else ""]
        told += [with_ends(arm["forgotten"]) if "forgotten" in arm else ""]
        rows.append("| " + " | ".join(told) + " |")
    return rows


def paid(more: Mapping[str, Any], scratch: Mapping[str, Any]) -> str:
    """After how many tasks meta-training has paid for itself."""
    most = "at most " if scratch["steps_to_threshold"] is None else ""
    return "never" if more["tasks_until_paid"] is None else f"{most}{more['tasks_until_paid']:,.0f}"


def ratio(found: Mapping[str, Any]) -> str:
    """A transfer ratio, where there is one."""
    return "none" if found["mean"] is None else with_ends(found)


def verdicts(found: Mapping[str, Any]) -> str:
    """Who earns more than scratch and who less, beyond chance."""
    better = [
        arm["name"] for arm in found["arms"] if (arm.get("more_than_scratch", {}).get("area", {}).get("mean_low") or 0) > 0
    ]
    worse = [arm["name"] for arm in found["arms"] if arm.get("more_than_scratch", {}).get("negative_transfer")]
    told = [f"More than from-scratch: {', '.join(better)}." if better else "None earns more than from-scratch beyond chance."]
    return " ".join([*told, f"Negative transfer: {', '.join(worse)}." if worse else "No negative transfer beyond chance."])


def sequence_rows(found: Mapping[str, Any]) -> list[str]:
    """The table of tasks one after another."""
    count = found["num_tasks"]
    rows = ["| way to learn | " + " | ".join(f"area of task {place + 1}" for place in range(count))]
    rows[0] += " | area of all | less scratch's | all at the end | forgotten of earlier ones |"
    rows.append("| --- " * (5 + count) + "|")
    for way in found["ways"]:
        more = with_ends(way["more_than_scratch"]) if "more_than_scratch" in way else ""
        told = [*map(with_ends, way["area_by_place"]), with_ends(way["area"]), more, with_ends(way["end"])]
        rows.append("| " + " | ".join([way["name"], *told, with_ends(way["forgotten"])]) + " |")
    return rows


def page() -> str:
    """The tables."""
    lines = [
        "# What runs are worth on other tasks",
        "",
        "Written by `python benchmarks/transfer.py`; [transfer](../transfer.md) says what each figure is. Few seeds and short"
        " runs, each trained for a few minutes at most with the settings in its file in `docs/results/transfer`, so that"
        " intervals are wide. *Area* is the mean return of an episode while the task is learnt; the threshold is"
        " 0.8 of the way from random's return to the best last tenth. Minutes are of one core, to train the runs and to learn"
        " the new tasks.",
        "",
        "![Return by environment steps on the new tasks](transfer.png)",
    ]
    for name, told in stored().items():
        found = told["transfer"]
        about = (
            f"{found['num_tasks']} test tasks, {found['seeds']} seeds, {found['budget']:,} environment steps on each; random"
        )
        about += f" returns {found['random']:.4g}, threshold {found['threshold']:.4g};"
        about += " {:.1f} + {:.1f} minutes.".format(*told["minutes"])
        lines += ["", f"## {name}", "", about, "", *cells_of(found), "", verdicts(found)]
        lines += [f"\nMost related first: {', '.join(found['relatedness'])}."] if len(found["relatedness"]) > 1 else []
        lines += ["", *(f"- {note}" for note in found["notes"])] if found["notes"] else []
        if "sequence" in told:
            lines += ["", "The tasks one after another, carrying weights:", "", *sequence_rows(told["sequence"])]
    return "\n".join(lines) + "\n"


def picture() -> None:
    """The curves of each case."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from quickstudy.looks import looks_of

    cases = stored()
    figure, places = pyplot.subplots(len(cases), 1, figsize=(7, 3.4 * len(cases)), layout="constrained", squeeze=False)
    for (name, told), axes in zip(cases.items(), places[:, 0], strict=True):
        found = told["transfer"]
        began = {arm["run"]: arm["algorithm"] for arm in found["arms"]}
        looks = dict(zip(began, looks_of(list(began.values())), strict=True))
        for arm in found["arms"]:
            style = {"color": looks[arm["run"]].light, "linestyle": ":" if arm["kind"] == "adapt" else "-"}
            axes.plot(found["steps"], arm["curve"]["mean"], label=arm["name"], **style)
        axes.axhline(found["random"], color="#8a8a8a", linewidth=0.8, linestyle=(0, (1, 3)))
        axes.axhline(found["threshold"], color="#1b1b1b", linewidth=0.8, linestyle=(0, (1, 5)))
        axes.set_title(name, fontsize=9)
        axes.set_ylabel("return of an episode")
        axes.legend(fontsize=7)
    places[-1, 0].set_xlabel("environment steps on the task")
    figure.savefig(RESULTS / "transfer.png", dpi=100)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the cases whose names begin so")
    parser.add_argument("--page", action="store_true", help="page and picture alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in () if options.page else CASES:
        if name.startswith(options.only or ""):
            measured(name)
    (RESULTS / "transfer.md").write_text(page())
    picture()


if __name__ == "__main__":
    main(sys.argv[1:])
