"""An agent that is played with: a task is picked in the browser, and the evaluator's own loop adapts the agent to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from quickstudy.data.filming import Studio
from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.families.making import called
from quickstudy.live.belief import Told, beliefs_of
from quickstudy.live.fields import fields_of, plain_fields, task_of, values_of
from quickstudy.live.server import Answer, Numbers, Server
from quickstudy.looks import looks_of
from quickstudy.protocol import Agent, Experience, Policy, Shard, Tasks
from quickstudy.report.page import Kind, data, page
from quickstudy.report.series import short
from quickstudy.report.trials import as_scene, dynamics_of, has_scenes
from quickstudy.report.world import as_list, trace, view
from quickstudy.scene import Aimed, Scene
from quickstudy.tasks.parameters import parameters_of, word_of
from quickstudy.work import LocalSite, threads

WEB = Path(__file__).parent / "web"
OWN = (WEB / "playwords.js", WEB / "playpictures.js", WEB / "play.js")
PLAY = Kind(("world.js", *OWN), (WEB / "play.css",), connects=True)
MOST_LUCK = 10**6
FARTHEST = 1e3
"""How far from the middle of a picture a task may be picked."""
MOMENTS = 300
"""As many moments of an episode are shown."""


class Player:
    """An agent, and the tasks that can be picked for it."""

    def __init__(self, agent: Agent, episodes: int | None = None, greedy: bool = False):
        self.agent, self.tasks = agent, agent.tasks
        self.parameters = parameters_of(self.tasks)
        self.life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes or self.tasks.episodes_per_trial, greedy)
        self.like = self.drawn(0)
        self.fields = fields_of(self.parameters, self.like)
        dynamics = dynamics_of(self.tasks)
        self.aimed = dynamics if isinstance(dynamics, Aimed) else None

    def drawn(self, luck: int) -> Tasks:
        """The one task (1, ...) of an evaluation with this seed."""
        site = LocalSite(self.tasks, self.agent.device)
        return {name: value.cpu() for name, value in draw_tasks(site, shard_of(luck)).items()}

    def picked(self, given: Numbers) -> tuple[Tasks, int]:
        """The task that was asked for, and the luck: drawn by that, at a place in the picture, or by its parameters.

        UsageError where a number is missing, unknown or out of bounds.
        """
        given = dict(given)
        luck = whole("luck", given.pop("luck", -1.0), MOST_LUCK)
        if not given:
            return self.drawn(luck), luck
        if given.keys() == {"x", "y"} and self.aimed:
            if max(map(abs, given.values())) > FARTHEST:
                raise UsageError(f"x and y must be between {-FARTHEST:g} and {FARTHEST:g}")
            found = self.aimed.task_at((given["x"], given["y"]))
            return {name: value[None] for name, value in found.items()}, luck
        return task_of(self.fields, self.parameters, self.like, given), luck

    def trial(self, task: Tasks, luck: int) -> Iterator[dict[str, Any]]:
        """Lives a trial on a task (1, ...): first says which, then tells each episode as plain values when it is over."""
        yield {"values": values_of(self.fields, self.parameters, task), "task": says(self.parameters, task), "luck": luck}
        site = LocalSite(self.tasks, self.agent.device)
        studio = Studio(site, [0] if has_scenes(self.tasks) else [], as_scene)
        shapes: dict[str, int] = {}
        beliefs, policies = beliefs_of(self.agent), [self.life.explorer]

        def adapt(policy: Policy, experience: Experience) -> Policy:
            policies.append(self.agent.adapt(policy, experience))
            return policies[-1]

        life = self.life._replace(adapt=adapt)
        given = {name: value.to(self.agent.device) for name, value in task.items()}
        try:
            with threads(1):
                for episode, experience in enumerate(live(studio, life, shard_of(luck), given)):
                    film = studio.films[0][episode] if studio.films else []
                    told = scored(experience) | {"belief": thinned(beliefs(policies[-1], experience))}
                    yield told | shown(experience, film, shapes)
        finally:
            site.close()


def shard_of(luck: int) -> Shard:
    """The counters of an evaluation on one task."""
    return Shard(luck, 0, 0, 1, "test")


def whole(name: str, value: float, most: int) -> int:
    """A whole number from 0 to `most`."""
    if not 0 <= value <= most or value % 1:
        raise UsageError(f"{name} must be a whole number from 0 to {most}")
    return int(value)


def says(parameters: Mapping[str, Any], task: Tasks) -> str:
    """A task (1, ...) in words, its first numbers."""
    parts = []
    for name, value in task.items():
        if word := word_of(parameters.get(name), value[0]):
            parts.append(f"{name} {word}")
            continue
        names = getattr(parameters.get(name), "entries", ())
        numbers = [f"{short(number, 3)}" for number in value.flatten().tolist()]
        if names:
            numbers = [f"{each} {number}" for each, number in zip(names, numbers, strict=True)]
        parts.append(f"{name} {', '.join(numbers[:6])}{' …' if len(numbers) > 6 else ''}")
    return "; ".join(parts)


def scored(experience: Experience) -> dict[str, Any]:
    """What the evaluator counts of an episode: the return, a mean over lanes, and the share of lanes that succeeded."""
    transition, valid = experience.transition, experience.valid
    success = transition.info.get("success", torch.full_like(valid, -1, dtype=torch.int8))
    tells = bool((success >= 0).any())
    return {
        "total": short(float((transition.reward * valid).sum(-1).mean())),
        "success": short(float(((success > 0) & valid).any(-1).float().mean())) if tells else None,
        "steps": int(valid[0, 0].sum()),
    }


def shown(experience: Experience, film: list[Scene], shapes: dict[str, int]) -> dict[str, Any]:
    """The first lane's episode, moment by moment; `shapes` numbers those that were told before, and takes in the new ones."""
    steps = int(experience.valid[0, 0].sum())
    kept = moments_of(steps)
    rewards = experience.transition.reward[0, 0, :steps].double().cumsum(0).tolist()
    new: list[Any] = []

    def number_of(shape: Any) -> int:
        told = as_list(shape)
        if str(told) not in shapes:
            shapes[str(told)] = len(shapes)
            new.append(told)
        return shapes[str(told)]

    scenes = [film[step] for step in kept] if film else []
    return {
        "moments": kept,
        "totals": [short(rewards[step - 1]) if step else 0 for step in kept],
        "ground": [[number_of(shape) for shape in scene.ground] for scene in scenes],
        "figures": [[number_of(shape) for shape in scene.figures] for scene in scenes],
        "view": view(scenes) if scenes else None,
        "trace": trace(scenes) if scenes else None,
        "shapes": new,
    }


def moments_of(steps: int) -> list[int]:
    """The steps of an episode that are shown: every so many, and the last one."""
    every = -(-(steps + 1) // MOMENTS)
    return sorted({*range(0, steps + 1, every), steps})


def thinned(told: Told | None) -> Told | None:
    """Beliefs at the moments that are shown."""
    if told is None:
        return None
    kept = moments_of(len(told["exact"]) - 1)
    return {name: [value[step] for step in kept] if isinstance(value, list) else value for name, value in told.items()}


def player(agent: Agent, run: str, command: str, port: int = 0, episodes: int | None = None, greedy: bool = False) -> Server:
    """A server of a page on which tasks are picked for an agent, one trial at a time; `command` starts it again."""
    host, lock = Player(agent, episodes, greedy), threading.Lock()
    about = {
        "title": f"{agent.name} on {called(agent.tasks)}",
        "run": Path(run).name,
        "version": version("quickstudy"),
        "made": "",
        "episodes": host.life.episodes,
        "lanes": agent.lanes,
        "greedy": greedy,
        "fields": plain_fields(host.fields),
        "aimed": host.aimed is not None,
        "drawn": has_scenes(agent.tasks),
        "most_luck": MOST_LUCK,
        "styles": {"learner": looks_of([agent.name])[0].told},
        "again": command,
    }

    def trial(given: Numbers) -> Answer:
        with lock:
            task, luck = host.picked(given)
        return Answer("application/x-ndjson", lines(task, luck))

    def lines(task: Tasks, luck: int) -> Iterator[str]:
        with lock:
            try:
                for part in host.trial(task, luck):
                    yield data(part) + "\n"
            except QuickstudyError as error:
                yield data({"error": str(error)}) + "\n"

    return Server({"": lambda query: Answer("text/html", [page(about, PLAY)])}, {"trial": trial}, port)
