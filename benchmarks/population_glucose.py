"""Which settings of the rules in `oracles/glucose.py` score best on training patients; `titrated`: each patient's own.

python benchmarks/population_glucose.py [weight | cohort | told | titrated | titration | pid]

Candidates are lanes of the same tasks. Prints the constants as they stand there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from quickstudy import families
from quickstudy.families.health.glucose import Glucose
from quickstudy.oracles.glucose import PID, BasalBolus, Gains, Pump, RunToRun, Shares, Titration
from quickstudy.protocol import Percept, Policy, begin_trial, counter
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.told import Told


@torch.no_grad()
def scores(policy: Policy, shown: NativeTasks | Told, drawn: dict[str, Tensor], lanes: int, episodes: int) -> Tensor:
    """The mean return of an episode, (task, lane)."""
    count = len(drawn["patient"])
    env = shown.make(count, lanes)
    percept = begin_trial(env.reset(drawn, counter(0, 0, "population env")), shown.action_space)
    memory, had, paid = policy.initial_memory(count, lanes), torch.zeros(count, lanes), torch.zeros(count, lanes)
    while bool((had < episodes).any()):
        act, memory = policy.act(percept, memory, None)
        now = env.step(act.action)
        paid += now.reward * (had < episodes)
        ended = now.terminated | now.truncated
        had += ended
        percept = Percept(now.observation, ended, act.action, now.reward, now.arrival, now.terminated, now.truncated)
    return paid / episodes


def columns(candidates: list[tuple[float, ...]]) -> list[Tensor]:
    """Candidates as lanes: one tensor (lane) for each of their numbers."""
    return list(torch.tensor(candidates).unbind(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["weight", "cohort", "told", "titrated", "titration", "pid"])
    parser.add_argument("--tasks", type=int, default=210)
    given = parser.parse_args()
    tasks = families.make("glucose")
    assert isinstance(tasks, NativeTasks)
    family, told = Glucose(), Told(tasks)
    drawn = tasks.sample(given.tasks, "train", counter(0, 0, "population tasks"))
    cohort = drawn["patient"] // 10
    plain = list(product((0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5), (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5), (0.0, 0.5, 1.0)))

    def shown(name: str, found: tuple[float, ...], score: Tensor) -> None:
        print(f"{name}: {tuple(round(number, 3) for number in found)}  {float(score):.2f}", flush=True)

    def search(
        name: str, build: Callable[..., Policy], candidates: list, episodes: int, over: NativeTasks | Told = tasks
    ) -> Tensor:
        got = scores(build(*columns(candidates)), over, drawn, len(candidates), episodes)
        best = got.mean(0).topk(3)
        for score, place in zip(best.values, best.indices.tolist(), strict=True):
            shown(name, candidates[place], score)
        return got

    for by in ("weight", "cohort"):
        if by in given.what:
            got = search(by, lambda *c, by=by: BasalBolus(Pump(family, None, by, Shares(*c))), plain, 1)
            best = [got[cohort == each].mean(0).max(0) for each in range(3)]
            for each, (score, place) in enumerate(best):
                shown(f"{by}, cohort {each}", plain[int(place)], score)
    if "told" in given.what:
        search("told", lambda *c: BasalBolus(Pump(family, told, "told", Shares(*c))), plain, 1, told)
    if "titrated" in given.what:
        each = torch.arange(30).repeat_interleave(given.tasks // 12)
        factors = tasks.sample(len(each), "train", counter(0, 0, "population factors"))["factors"]
        finer = list(product((0.9, 1.0, 1.1, 1.2, 1.3, 1.45, 1.6, 1.8), (0.4, 0.5, 0.65, 0.8, 1.0, 1.2, 1.4), (0.5, 1.0)))
        policy = BasalBolus(Pump(family, told, "told", Shares(*columns(finer))))
        got = scores(policy, told, {"patient": each, "factors": factors}, len(finer), 1).unflatten(0, (30, -1)).mean(1)
        best = got.max(1)
        print(f"each patient's own: {float(best.values.mean()):.2f}")
        for score, place in zip(best.values, best.indices.tolist(), strict=True):
            print(f"    Shares{finer[place]},  # {float(score):.2f}")
    if "titration" in given.what:
        grid = list(product((0.8, 0.9, 1.0), (1.0, 1.2, 1.4), (0.1, 0.2), (0.1, 0.2, 0.3), (100.0, 120.0), (125.0, 140.0)))
        search(
            "titration",
            lambda b, c, *how: RunToRun(Pump(family, None, "population"), Titration(Shares(b, c, c), *how)),
            grid,
            5,
        )
    if "pid" in given.what:
        grid = list(product((0.7, 0.85, 1.0), (0.7, 1.0), (110.0, 130.0), (0.5, 1.0, 1.5, 2.0), (0.0, 0.1), (0.0, 0.5, 1.0)))
        search("pid", lambda b, c, *gains: PID(Pump(family, None, "population"), Gains(Shares(b, c, c), *gains)), grid, 1)


if __name__ == "__main__":
    main()
