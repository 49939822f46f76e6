"""The net under all moves: every family with every learner through every command, with the smallest settings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Share
from said import complaint
from small import TINY, as_options, takes

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.cli.own import load_tasks
from quickstudy.families import FAMILIES, drawn_families, family
from quickstudy.families.metaworld.tasks import goals
from quickstudy.protocol import Learner, counter
from quickstudy.runs.checkpoint import load_latest
from quickstudy.scene import Drawn
from quickstudy.tasks.lanes import Source
from quickstudy.tasks.mujoco.stage import without_display
from quickstudy.tasks.parameters import env_values
from quickstudy.work import threads

WORLDS = Path(__file__).parent / "product" / "worlds.py"
OWN = [f"{WORLDS}:{name}" for name in ("tank", "shop", "lock", "panel")]
LARGER = ("metaworld-ml10", "metaworld-ml45")
REFUSED = "refused"
TASKS = 3
SHORT = {"episodes_per_trial": 2, "max_episode_steps": 3}
LEARNERS = {name: as_options(options | {"hidden_size": 8}) for name, options in TINY.items()}


class Run(NamedTuple):
    """A trained run, by itself or among several seeds, and how commands are told its tasks."""

    tasks: str
    algorithm: str
    folder: Path
    seeds: int
    again: list[str]
    capsys: pytest.CaptureFixture[str]

    @property
    def path(self) -> Path:
        return self.folder / "seed-0" if self.seeds > 1 else self.folder

    def call(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What a command prints and what it says on stderr."""
        self.capsys.readouterr()
        found = main(list(arguments))
        out, said = self.capsys.readouterr()
        assert found == status and "Traceback" not in said, said
        return out, said

    def load(self) -> Learner:
        return qs.load(self.path, load_tasks(self.tasks) if self.again else None)


def train(run: Run) -> str | None:
    """A run keeps what makes it again, its metrics and its last state."""
    place = ["--run", str(run.folder), "--seeds", str(run.seeds)]
    common = ["--iterations", "1", "--threads", "1", "--evaluate-every", "1", "--evaluate-tasks", "2"]
    command = ["train", run.algorithm, run.tasks, *place, *common, *short(run.tasks), *LEARNERS[run.algorithm]]
    if not takes(run.algorithm, load_tasks(run.tasks) if run.tasks in OWN else qs.tasks.make(run.tasks)):
        numbered = ALGORITHMS[run.algorithm].observations == "discrete"
        refused(run, command, "observations and actions must be Discrete" if numbered else "predicts vectors")
        return REFUSED
    if run.tasks.endswith(":panel") and ALGORITHMS[run.algorithm].actions == "discrete or bounded":
        refused(run, command, "takes Discrete, or Box with bounds")
        return REFUSED
    run.call(*command)
    assert tomllib.loads((run.path / "config.toml").read_text())["training"]["seed"] == 0
    [row] = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    assert row["iteration"] == 1 and row["rollout/timesteps"] > 0
    assert load_latest(run.path)


def short(tasks: str) -> list[str]:
    """Options of a family for short trials, those that it has."""
    known = {field.name for field in fields(family(tasks))} if tasks in FAMILIES else set()
    return as_options({name: value for name, value in SHORT.items() if name in known})


def evaluate(run: Run) -> None:
    out, _ = run.call("evaluate", str(run.folder), "--num-tasks", str(TASKS), "--json", *run.again)
    assert json.loads(out)["num_tasks"] == TASKS


def report(run: Run) -> None:
    run.call("report", str(run.path), "--num-tasks", str(TASKS), *run.again)
    contents = embedded(run.path / "report.html")
    numbers = contents["map"]["axes"]
    assert numbers and all(len(task["at"]) == len(numbers) for task in contents["map"]["tasks"])
    assert {row["who"] for row in contents["adaptation"]["curves"]} >= {"learner", "random"}


def compare(run: Run) -> None:
    page = run.folder / "pair.html"
    out, _ = run.call(
        "compare", str(run.path), str(run.folder / "seed-1"), "--num-tasks", str(TASKS), "--json", "-o", str(page), *run.again
    )
    assert len(json.loads(out)["runs"]) == 2 and embedded(page)


def embedded(page: Path) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="contents">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1], parse_constant=pytest.fail)


def refused(run: Run, command: list[str], why: str) -> None:
    """A command ends with 2 and one line that says why."""
    _, said = run.call(*command, status=2)
    assert complaint(said).startswith("error: ") and why in said


def video(run: Run) -> str | None:
    command = ["video", str(run.path), "--num-tasks", str(TASKS), "--episodes", "1", "--width", "160", *run.again]
    if run.tasks not in drawn_families():
        refused(run, command, "can't be drawn")
        return REFUSED
    if not isinstance(family(run.tasks)(), Drawn) and without_display() is None:
        pytest.skip("robots need libEGL or libOSMesa")
    av = pytest.importorskip("av")
    run.call(*command)
    for suffix in (".mp4", ".gif"):
        with av.open(str(run.path / "video" / f"test-task0-seed0{suffix}")) as film:
            assert len(list(film.decode(video=0))) > 1


def session(run: Run) -> None:
    """One episode more than an adaptation pools."""
    learner = run.load()
    world = World(learner.tasks)
    living = learner.session(seed=0)
    with threads(1):
        for _ in range(learner.lanes + 1):
            seen, ended = world.reset(), False
            while not ended:
                seen, reward, terminated, truncated = world.step(living.act(seen))
                living.feedback(reward, terminated, truncated, seen)
                ended = terminated or truncated
    world.close()


class World:
    """One task as Gymnasium has it: the environment itself where it is one, one lane of a batch where tasks are batched."""

    def __init__(self, tasks: Any):
        self._told, tasks = (tasks, tasks.tasks) if isinstance(tasks, qs.Informed) else (None, tasks)
        self._tasks, self._drawn = tasks, tasks.sample(1, "test", counter(0, 0, "world"))
        self._env = tasks.build() if isinstance(tasks, Source) else None
        if self._env is not None:
            tasks.put(self._env, env_values(tasks.parameters, self._drawn)[0])
        else:
            self._batch = tasks.make(1, 1)
            self._batch.reset(self._drawn, counter(0, 0, "world"))

    def _shown(self, observation: Any) -> Any:
        return self._told.tell(observation, self._drawn) if self._told else observation

    def reset(self) -> Any:
        observation = self._env.reset()[0] if self._env else self._batch.restart()[0, 0].numpy()
        return self._shown(observation)

    def step(self, action: Any) -> tuple[Any, float, bool, bool]:
        if self._env:
            assert self._env.action_space.contains(action)
            observation, reward, terminated, truncated, _ = self._env.step(action)
        else:
            assert self._tasks.action_space.contains(action)
            step = self._batch.step(torch.as_tensor(action)[None, None])
            observation = step.arrival[0, 0].numpy()
            reward, terminated, truncated = (part.item() for part in (step.reward, step.terminated, step.truncated))
        return self._shown(observation), reward, terminated, truncated

    def close(self) -> None:
        (self._env or self._batch).close()


COMMANDS: dict[str, Callable[[Run], str | None]] = {
    command.__name__: command for command in (train, evaluate, report, compare, session, video)
}


def products() -> list[Any]:
    """Every pair through every command, and for the quick suite each family once: learners and other commands by turns."""
    names, found = list(ALGORITHMS), []
    for row, tasks in enumerate([*FAMILIES, *OWN]):
        called = tasks.split(":")[-1]
        quick, turn = names[row % len(names)], ("evaluate", "compare", "video")[row % 3]
        # Meta-World's larger benchmarks differ from its smallest in which environments there are
        commands = ("train", "session") if called in LARGER else ("train", "report", "session", turn)
        found.append(pytest.param(tasks, quick, commands, id=f"{called}-{quick}-{commands[-1]}"))
        for algorithm in names:
            every = pytest.param(tasks, algorithm, tuple(COMMANDS), id=f"{called}-{algorithm}", marks=pytest.mark.slow)
            found.append(every)
    return found


@pytest.fixture(scope="module")
def small_benchmarks() -> Iterator[None]:
    """Of Meta-World three environments with three goals each: fifty of both take minutes to build."""
    metaworld = pytest.importorskip("metaworld", reason="needs the extra metaworld")
    known = metaworld.env_dict
    with pytest.MonkeyPatch.context() as patch:
        goals.cache_clear()
        patch.setattr(metaworld, "_N_GOALS", 3)
        for benchmark in (known.ML10_V3, known.ML45_V3):
            for split, names in (("train", ("reach-v3", "push-v3")), ("test", ("door-close-v3",))):
                patch.setitem(benchmark, split, {name: known.ALL_V3_ENVIRONMENTS[name] for name in names})
        yield
    goals.cache_clear()


@pytest.mark.parametrize(("tasks", "algorithm", "commands"), products())
def test_every_command_runs(
    tasks: str,
    algorithm: str,
    commands: tuple[str, ...],
    share: Share,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
):
    """Status 0 and its files, or one line that says why not."""
    if tasks.startswith("metaworld"):
        request.getfixturevalue("small_benchmarks")
    seeds, again = 2 if "compare" in commands else 1, ["--tasks", tasks] if tasks in OWN else []
    run = Run(tasks, algorithm, tmp_path / "run", seeds, again, capsys)
    faults = []
    for name in commands:
        result = "passed"
        try:
            result = COMMANDS[name](run) or result
        except (Exception, SystemExit) as error:
            faults.append(error)
            result = f"{type(error).__name__}: {error}"[:300]
        share.says(name, 1, result, algorithm, tasks.split(":")[-1])
        if name == "train" and result != "passed":
            break
    if faults:
        raise BaseExceptionGroup(f"{algorithm} on {tasks}", faults)
