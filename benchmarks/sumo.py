"""The rules of `traffic-signal` at a crossing of SUMO, and at the same crossing here: do both rank them alike?

    pip install -e '.[sumo]'  # or make reference, which has an environment of its own
    python benchmarks/sumo.py --tasks 8

The net is sumo-rl's `2way-single-intersection` (a lane for through and right, one for left turns, on each side); its routes are
written anew for tasks of this family with one through lane: the same demand, the same dead detectors, vehicles that come at
random. SUMO's own drivers follow each other, start one after another and fill 150 m of road; who enters late for want of room
has that delay counted. Saturation flow is what those drivers make of it, so tasks are in dry weather.
"""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ElementTree
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import torch

import quickstudy as qs
from quickstudy.families.traffic.signal import DECISION, IN_SIGHT, LONGEST, LOST_TIME, MINIMUM_GREEN, TrafficSignal
from quickstudy.oracles import ORACLES, oracle
from quickstudy.protocol import Agent, Tasks, begin_trial, counter
from quickstudy.tasks.told import Told

RULES = ("webster", "actuated", "max-pressure")
SIDES = ("n", "s", "e", "w")
AHEAD = {"n": "s", "s": "n", "e": "w", "w": "e"}
LEFT = {"n": "e", "s": "w", "e": "s", "w": "n"}
WAYS = [(side, goes[side], lane) for pair in (SIDES[:2], SIDES[2:]) for goes, lane in ((AHEAD, 0), (LEFT, 1)) for side in pair]
"""Of each movement, in the family's order: where it comes from, where it goes, and its lane."""


def routes(rate: torch.Tensor, seconds: int) -> str:
    """Vehicles of each movement that come at random, as SUMO reads them."""
    flows = [
        f'<flow id="f{number}" route="r{number}" begin="0" end="{seconds}" period="exp({max(each, 1e-4):.5f})"'
        ' departSpeed="max" departPos="base" departLane="best"/>'
        for number, each in enumerate(rate.tolist())
    ]
    lines = [f'<route id="r{number}" edges="{come}_t t_{goes}"/>' for number, (come, goes, _) in enumerate(WAYS)]
    return "\n".join(["<routes>", *lines, *flows, "</routes>"])


def delay(folder: Path, family: TrafficSignal, agent: Agent, task: Tasks, seed: int) -> float:
    """Seconds that a vehicle of SUMO loses under a rule in half an hour, those included that are still on their way."""
    sumo_rl: Any = import_module("sumo_rl")  # needs what `prepared` sets before it is imported
    seconds, trips = int(family.max_episode_steps * DECISION), folder / "trips.xml"
    (folder / "routes.xml").write_text(routes(family.demand(torch.zeros(1), task)[0], seconds))
    net = Path(sumo_rl.__file__).parent / "nets" / "2way-single-intersection" / "single-intersection.net.xml"
    env = sumo_rl.SumoEnvironment(
        str(net),
        str(folder / "routes.xml"),
        single_agent=True,
        num_seconds=seconds,
        delta_time=int(DECISION),
        yellow_time=int(LOST_TIME),
        min_green=int(MINIMUM_GREEN),
        sumo_seed=seed,
        sumo_warnings=False,
        time_to_teleport=-1,
        additional_sumo_cmd=f"--tripinfo-output {trips} --tripinfo-output.write-unfinished true --no-step-log true",
    )
    env.reset()
    policy, over, first = agent.explorer(), False, True
    memory, told = policy.initial_memory(1, 1), [value.flatten().float() for value in task.values()]
    while not over:
        row = torch.cat([observation(env, family, task), *(told if isinstance(agent.tasks, Told) else [])])
        percept = begin_trial(row[None, None], agent.tasks.action_space)._replace(first=torch.tensor([[first]]))
        act, memory = policy.act(percept, memory, None)
        *_, over, _ = env.step(int(act.action))
        first = False
    env.close()
    lost = [
        float(trip.attrib["timeLoss"]) + float(trip.attrib["departDelay"]) for trip in ElementTree.parse(trips).iter("tripinfo")
    ]
    return sum(lost) / len(lost)


def observation(env: Any, family: TrafficSignal, task: Tasks) -> torch.Tensor:
    """What the family's detectors would tell of SUMO's crossing."""
    light = env.traffic_signals["t"]
    queues = torch.tensor([queueing(env, f"{come}_t_{lane}") for come, _, lane in WAYS])
    seen = queues.clamp(max=IN_SIGHT) / IN_SIGHT * ~task["dead"][0]
    phase = torch.nn.functional.one_hot(torch.tensor(light.green_phase), 4)
    green = max(0.0, light.time_since_last_phase_change - LOST_TIME)
    share = env.sim_step / (DECISION * family.max_episode_steps)
    clocks = torch.tensor([min(green, LONGEST) / 60, green >= MINIMUM_GREEN, share])
    return torch.cat([seen, phase, torch.zeros(12), clocks, torch.zeros(1)]).float()  # no rule reads the rest


def queueing(env: Any, lane: str) -> int:
    """Vehicles of a lane that stand, or roll slowly as a queue that has green."""
    return sum(env.sumo.vehicle.getSpeed(vehicle) < 5 for vehicle in env.sumo.lane.getLastStepVehicleIDs(lane))


def here(agent: Agent, task: Tasks, seed: int) -> float:
    """The same figure in this family."""
    env, policy = agent.tasks.make(1, 1), agent.explorer()
    memory, percept = (
        policy.initial_memory(1, 1),
        begin_trial(env.reset(task, counter(seed, 0, "here")), agent.tasks.action_space),
    )
    delay = torch.zeros(1, 1)
    for _ in range(agent.tasks.max_episode_steps):
        act, memory = policy.act(percept, memory, None)
        step = env.step(act.action)
        percept, delay = percept._replace(observation=step.observation, first=step.truncated), step.info["delay per vehicle"]
    return float(delay)


def prepared(folder: Path) -> None:
    """What sumo-rl looks for in the environment before it is imported: SUMO in this process, and a folder with tools."""
    (folder / "tools").mkdir()  # it then needs none of them
    os.environ.setdefault("SUMO_HOME", str(folder))
    os.environ["LIBSUMO_AS_TRACI"] = "1"


def compared(count: int) -> Iterator[tuple[str, float, float]]:
    """Of each rule, seconds of delay of a vehicle in SUMO and here, on average over test tasks in dry weather."""
    family = TrafficSignal(through_lanes=1)
    tasks = qs.NativeTasks(family)
    found = tasks.sample(count, "test", counter(0, 0, "sumo")) | {"saturation": torch.ones(count)}
    each = [{name: value[number : number + 1] for name, value in found.items()} for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        for rule, settings in product(RULES, ("population", "told")):
            agent = oracle(rule, tasks, ORACLES[rule].options(settings=settings))
            sumo = [delay(Path(folder), family, agent, task, seed + 1) for seed, task in enumerate(each)]
            ours = [here(agent, task, seed) for seed, task in enumerate(each)]
            yield f"{rule} {settings}", sum(sumo) / count, sum(ours) / count


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--tasks", type=int, default=8)
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as home:
        prepared(Path(home))
        print(f"delay of a vehicle in s, {chosen.tasks} tasks   SUMO   here")
        for row in compared(chosen.tasks):
            rows.append(row)
            print("{:32} {:6.1f} {:6.1f}".format(*row), flush=True)
    for place, column in (("by SUMO", 1), ("here", 2)):
        print(f"ranked {place}:", ", ".join(row[0] for row in sorted(rows, key=lambda row: row[column])))
