"""The configuration of a run: algorithm, tasks and training options, as TOML and back, every key checked."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from quickstudy.algorithms import ALGORITHMS, algorithm
from quickstudy.arguments import checked, config_class, excess, fill, require_device, require_room, shown
from quickstudy.errors import QuickstudyError, UsageError, did_you_mean, require_at_least, require_counts, shorten
from quickstudy.families import describe, family, make
from quickstudy.families.making import called
from quickstudy.footprint import to_build, to_evaluate, to_train
from quickstudy.names import SETTINGS, named_now
from quickstudy.printed import say
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.storage import Refused, read_text, to_json
from quickstudy.tasks.repeated import times_of, with_repeat
from quickstudy.tasks.shifted import pixels_of, with_shift
from quickstudy.work import require_place
from quickstudy.wrappers.normalised import Normalisation, Normalised

MOST_BYTES = 64 * 2**10
"""Of a configuration; the longest that quickstudy writes is a thirtieth of it."""
DEEP = re.compile(r"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){16}""")
"""A name, or a text, of more parts than any configuration has."""
FORMAT = 4
"""Of a configuration: 3 has the names of today, 2 those of `names.py`, and doesn't say so; both say less (`names.BEFORE`)."""
USUAL_ITERATIONS = 200
"""Meta-iterations of a training that is told no budget."""
ENDS = ("iterations", "steps", "patience")
"""What of `Training` says when it ends: it may be another when a run goes on."""
MACHINE = ("workers", "deadline", "attempts", "device", "threads", "log", "profile")
"""What of `Training` belongs to this machine: it is never taken from a stored configuration unasked."""


@checked
@dataclass(frozen=True, kw_only=True)
class Training:
    """How a run trains."""

    iterations: int | None = None
    """Meta-iterations in all; where neither these nor steps are given: 200."""
    steps: int | None = None
    """Environment steps in all: training ends with the meta-iteration in which they are reached, or before by iterations."""
    seed: int = 0
    """Seed of everything random in the run."""
    shift: int = 0
    """Pixels by which a training task's images are shifted at most, alike over its trials (DrQ: Kostrikov et al. 2021)."""
    repeat: int = 1
    """Steps for which each action is held, in training as in evaluations; steps and discounts then count decisions."""
    device: str = "cpu"
    """Where tensors live: cpu, cuda, cuda:1 ..."""
    threads: int = 1
    """Threads of matrix products, part of the result; 0 takes as many as PyTorch would, and records how many that was."""
    workers: int | str = 0
    """Processes that do units of work (see an algorithm's `shards`), 0: this one; or ray, ray:N, ray://HOST:10001: Ray actors.
    They change the speed, never the result."""
    deadline: float = 600.0
    """Seconds after which a worker that is not done with a unit of work is taken for hung, and another does it."""
    attempts: int = 3
    """Failures of one unit of work (a worker died, hung or raised) after which the run stops."""
    checkpoint_every: int = 10
    """Meta-iterations from one checkpoint to the next."""
    keep_checkpoints: int = 20
    """Older checkpoints than so many are removed."""
    evaluate_every: int = 50
    """Meta-iterations from one evaluation on validation tasks to the next; 0: none."""
    evaluate_tasks: int = 64
    """Tasks of such an evaluation."""
    keep_best: bool = False
    """Keep the checkpoint of the best mean return in such evaluations besides, for evaluate --checkpoint best."""
    patience: int = 0
    """Such evaluations in a row, none of them better than the best before, after which training ends; 0: it goes on."""
    not_finite: Literal["stop", "skip", "rollback"] = "stop"
    """Where a number becomes NaN or infinite: stop, skip that meta-iteration, or go on from the last checkpoint due before."""
    log: Literal["tensorboard", "wandb", "mlflow"] = "tensorboard"
    """Where metrics go besides the run's own files: TensorBoard always; wandb and mlflow are extras, an account of your own."""
    profile: int = 0
    """Meta-iterations, after the first, of which a profile is printed and a trace kept in the run; it slows them down."""

    def __post_init__(self) -> None:
        require_at_least(0, "training", self, "threads", "evaluate_every", "profile", "shift", "patience")
        require_counts("training", 1, iterations=self.iterations, steps=self.steps)
        require_at_least(1, "training", self, "checkpoint_every", "attempts")
        require_place("training", self.workers)
        if not self.deadline > 0:
            raise UsageError(f"training: deadline is {self.deadline} seconds, it must be more than 0")
        require_at_least(1, "training", self, "evaluate_tasks", "repeat")
        require_at_least(2, "training", self, "keep_checkpoints")
        for name in ("keep_best", "patience"):
            if getattr(self, name) and not 0 < self.evaluate_every <= (self.last or self.evaluate_every):
                raise UsageError(
                    f"training: {name} goes by evaluations on validation tasks, of which there are none:"
                    f" evaluate_every is {self.evaluate_every}, the budget {self.budget}"
                )

    @property
    def last(self) -> int | None:
        """The last meta-iteration; None where environment steps alone say when training ends."""
        return self.iterations or (None if self.steps else USUAL_ITERATIONS)

    def share(self, iteration: int, timesteps: int) -> float:
        """How much of the budget so many meta-iterations and environment steps are: 1 where one of the two is reached."""
        return max(iteration / self.last if self.last else 0.0, timesteps / self.steps if self.steps else 0.0)

    @property
    def budget(self) -> str:
        """When training ends, in words."""
        budgets = (self.last, "meta-iteration"), (self.steps, "environment step")
        return " or ".join(f"{count:,} {what}{'s' * (count > 1)}" for count, what in budgets if count)


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on besides this version of quickstudy."""

    algorithm: str
    """A registered algorithm, or what to call one's own."""
    algorithm_options: Any
    """Its configuration; a table of plain values for an algorithm of one's own, which a stored run can't build."""
    tasks: str
    """A registered family, or what to call tasks of one's own."""
    task_options: Any
    """The family's options; None for tasks of one's own, which a stored run can't build."""
    normalisation: Normalisation
    training: Training
    trained_with: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What its file says of the machine (`MACHINE`) otherwise than `training`, which has what holds here."""
    typed: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What tasks and algorithm of the user's own were called on this command line, wherever their files lie now."""

    def told(self, tasks: Any, own_algorithm: Any) -> RunConfig:
        """The same, which calls what is the user's own as it was typed this time."""
        given = {"tasks": getattr(tasks, "called", None), "algorithm": getattr(own_algorithm, "called", None)}
        return replace(self, typed={name: place for name, place in given.items() if isinstance(place, str)})

    def require_own(self, folder: str | Path, tasks: Any, own_algorithm: Any) -> None:
        """Raises UsageError where a run that knows its tasks, or its algorithm, is given some; warns of others than it had."""
        if tasks is not None and self.task_options is not None:
            raise UsageError(f"{folder} was trained on {self.tasks}, which it builds by itself: leave --tasks out")
        if own_algorithm is not None and not self.own_algorithm:
            raise UsageError(f"{folder} was trained with {self.algorithm}, which it builds by itself: leave --algorithm out")
        if Path(called := self.typed.get("tasks", self.tasks)).name != Path(self.tasks).name:
            say(
                f"warning: {folder} was trained on {self.tasks}; {called} must be the same tasks, which can't be told from here"
            )

    @property
    def own_algorithm(self) -> bool:
        """Whether the algorithm is the user's own."""
        return isinstance(self.algorithm_options, dict)

    @property
    def own_flags(self) -> str:
        """What a command on the run needs besides its folder: the user's own files again."""
        tasks = f" --tasks {shlex.quote(self.typed.get('tasks', self.tasks))}" if self.task_options is None else ""
        algorithm = self.typed.get("algorithm", self.algorithm)
        place = shlex.quote(algorithm) if ".py" in algorithm else "FILE.py:CLASS"
        return tasks + (f" --algorithm {place}" if self.own_algorithm else "")

    def command(self, name: str, folder: str | Path) -> str:
        """A command on the run, or the folder of seeds, to be typed as it is; what belongs to this machine isn't in it."""
        return f"quickstudy {name} {shlex.quote(str(folder))}{self.own_flags}"

    def elsewhere(self, options: Iterable[str], given: Iterable[str] = ()) -> dict[str, Any]:
        """What the file says of the machine, of some options that were not given here."""
        return {name: self.trained_with[name] for name in options if name in self.trained_with.keys() - set(given)}

    def extended(self, iterations: int | None, steps: int | None, patience: int | None = None) -> RunConfig:
        """The same with another budget, where one is given, and another patience, where that is."""
        budget = {"iterations": iterations, "steps": steps} if iterations or steps else {}
        budget |= {} if patience is None else {"patience": patience}
        return replace(self, training=replace(self.training, **budget))

    def ending_as(self, training: Training) -> RunConfig:
        """The same with the budget and the patience of another training."""
        return replace(self, training=replace(self.training, **{name: getattr(training, name) for name in ENDS}))

    def write(self) -> str:
        """The configuration as TOML, which has no word for None: what is left out has its default."""
        learnt = self.learnt
        sections = {name: learnt[name] for name in ("algorithm", "tasks")}
        sections |= {"training": asdict(self.training) | dict(self.trained_with), "normalisation": learnt["normalisation"]}
        told = {
            section: {name: value for name, value in values.items() if value is not None}
            for section, values in sections.items()
        }
        return tomli_w.dumps({"format": FORMAT, **told})

    @property
    def learnt(self) -> dict[str, dict[str, Any]]:
        """What is learnt, on what and how, by sections: of training seed, shift and repeat; no budget, no machine."""
        own_tasks = self.task_options is None
        options = self.algorithm_options if self.own_algorithm else asdict(self.algorithm_options)
        return {
            "algorithm": {"own" if self.own_algorithm else "name": self.algorithm} | options,
            "tasks": {"own": self.tasks} if own_tasks else {"name": self.tasks} | asdict(self.task_options),
            "normalisation": asdict(self.normalisation),
            "training": {"seed": self.training.seed, "shift": self.training.shift, "repeat": self.training.repeat},
        }

    @property
    def identity(self) -> str:
        """The sha256 of `learnt`: a checkpoint belongs to configurations of one identity."""
        return hashlib.sha256(json.dumps(self.learnt, sort_keys=True).encode()).hexdigest()

    @property
    def recorded(self) -> dict[str, Any]:
        """What a checkpoint says of its configuration."""
        return {"format": FORMAT, "identity": self.identity, "learnt": self.learnt}

    def require_same(self, checkpoint: Path, recorded: Any) -> None:
        """Raises QuickstudyError, which names what differs, where a checkpoint was made under another configuration.

        Those of earlier versions recorded none. What they called otherwise has its name of today, and a setting that they
        didn't have its default.
        """
        if recorded is None or (isinstance(recorded, Mapping) and recorded.get("identity") == self.identity):
            return
        known = isinstance(recorded, Mapping) and isinstance(recorded.get("learnt"), Mapping)
        if not known or not all(isinstance(section, Mapping) for section in recorded["learnt"].values()):
            raise ValueError(f"{checkpoint / 'manifest.json'} tells its configuration in a way that can't be read")
        found = [each for section, now in self.learnt.items() for each in self._differing(section, now, recorded)]
        if found:
            raise QuickstudyError(
                f"{checkpoint.parent.parent}: its config.toml is not the one under which {checkpoint.name} was saved: "
                f"{', '.join(found[:3])}; set that back, or train another run"
            )

    def _differing(self, section: str, now: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
        """What of a section differs from what a checkpoint recorded, each with both values."""
        then = recorded["learnt"].get(section, {})
        if section == "algorithm" and recorded.get("format") != FORMAT:
            then = named_now(self.algorithm, then, recorded.get("format", 2))
        made_of = {"algorithm": self.algorithm_options, "tasks": self.task_options}
        made_of |= {"normalisation": self.normalisation, "training": self.training}
        defaults = getattr(type(made_of.get(section)), "__dataclass_fields__", {})
        found = []
        for name, value in json.loads(to_json(now)).items():
            stored = then.get(name, getattr(defaults.get(name), "default", None))
            if stored != value or isinstance(stored, bool) is not isinstance(value, bool):
                found.append(f"[{section}] {name} is {shorten(value)}, it was {shorten(stored)}")
        return found

    def build_tasks(self, own: TaskDistribution | None) -> TaskDistribution:
        """The tasks of the run: built by name, or `own`, without which a run on tasks of one's own can't go on."""
        if self.task_options is not None:
            return own or make(self.tasks, **asdict(self.task_options))
        if own is None:
            raise UsageError(
                f"this run was trained on tasks of your own ({self.tasks}), which no stored run may import;"
                " pass --tasks FILE.py:OBJECT (in Python: tasks=...)"
            )
        return own

    def build_learner(self, own_tasks: TaskDistribution | None = None, own_algorithm: Any = None) -> Learner:
        """The learner as it was before training; `own_algorithm` is the class of a learner of one's own."""
        if not self.own_algorithm:
            make_learner, options = algorithm(self.algorithm).make, self.algorithm_options
        elif own_algorithm is not None:
            make_learner = own_algorithm
            options = fill(config_class(own_algorithm), self.algorithm_options, f"the run's [algorithm] {self.algorithm}")
        else:
            raise UsageError(
                f"this run was trained with an algorithm of your own ({self.algorithm}), which no stored run may import;"
                " pass --algorithm FILE.py:CLASS (in Python: algorithm=...)"
            )
        tasks = with_repeat(with_shift(self.build_tasks(own_tasks), self.training.shift), self.training.repeat)
        require_device(self.training.device)
        require_room(self.algorithm, to_build(tasks, options), self.training.device)
        learner = make_learner(tasks, options, seed=self.training.seed, device=self.training.device)
        return normalised(learner, self.normalisation)


def require_memory(learner: Learner, training: Training) -> None:
    """Raises UsageError where this machine has not the memory for meta-iterations, or for evaluations between them."""
    require_room("train", to_train(learner.tasks, learner.config), learner.device)
    if training.evaluate_every:
        require_room("train", to_evaluate(learner, learner.tasks, training.evaluate_tasks), learner.device)


def normalised(learner: Learner, normalisation: Normalisation) -> Learner:
    """The learner in its normalisers, where there are any."""
    wanted = normalisation.normalise_observation or normalisation.normalise_reward
    return Normalised(learner, normalisation) if wanted else learner


def has_own_net(learner: Learner) -> bool:
    """Whether a learner's network was built by a function of the user's own, which no stored run may import."""
    return getattr(learner, "own_net", False)


def config_of(
    learner: Learner, training: Training, own_tasks: str | None = None, own_algorithm: str | None = None
) -> RunConfig:
    """The configuration that would build this learner; the names are what to call tasks and an algorithm of one's own."""
    normalisation = Normalisation()
    if isinstance(learner, Normalised):
        learner, normalisation = learner.learner, learner.normalisation
    described = describe(learner.tasks)
    name, options = (own_tasks or called(learner.tasks), None) if described is None else described
    registered = ALGORITHMS.get(learner.name)
    # a class of one's own may have inherited a registered name and configuration
    named = own_algorithm in (None, learner.name)
    known = named and registered is not None and type(learner.config) is registered.config and not has_own_net(learner)
    return RunConfig(
        algorithm=learner.name if known else own_algorithm or type(learner).__qualname__,
        algorithm_options=learner.config if known else asdict(learner.config),
        tasks=name,
        task_options=None if options is None else family(name)(**options),
        normalisation=normalisation,
        training=replace(training, shift=pixels_of(learner.tasks), repeat=times_of(learner.tasks)),
    )


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; UsageError where it is none, or larger, longer or deeper than any configuration."""
    try:
        text = read_text(path, MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except Refused as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"{path} is no configuration: {error}") from error
    # the parser takes quadratic time for a name of many parts
    if deep := DEEP.search(text):
        raise UsageError(f"{path} is no configuration: {deep[0][:40]}... names a table within sixteen others")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path} is not TOML: {str(error) or 'it takes too much memory'}") from error
    if wrong := excess(table):
        raise UsageError(f"{path}: {wrong}")
    return table


def read_config(path: Path) -> RunConfig:
    """Reads a run's TOML file; UsageError names the key that is unknown or ill-typed, and what is allowed.

    What belongs to the machine that wrote it stays aside, in `trained_with`.
    """
    table = read_table(path)
    known = ("algorithm", "tasks", "normalisation", "training")
    number = table.pop("format", 2)
    if number not in (2, 3, FORMAT):
        raise UsageError(f"{path} has format {shown(number)}; this version of quickstudy reads 2, 3 and {FORMAT}")
    for section in table:
        if section not in known:
            raise UsageError(f"{path} has no section [{section}]; {did_you_mean(section, known)}")
    chosen, tasks = _section(table, "algorithm", path), _section(table, "tasks", path)
    if "own" in chosen:
        name, options = _name(chosen, "own", "algorithm", path), chosen
    else:
        name = _name(chosen, "name", "algorithm", path)
        for old, new in SETTINGS.get(name, {}).items() if number == 2 else ():
            if old in chosen and new in chosen:
                raise UsageError(f"{path} [algorithm] has {old} and {new}, which is what it is called now: leave one out")
        chosen = chosen if number == FORMAT else named_now(name, chosen, number)
        options = fill(algorithm(name).config, chosen, f"{path} [algorithm]")
    if "own" in tasks:
        tasks_name, task_options = _name(tasks, "own", "tasks", path), None
    else:
        tasks_name = _name(tasks, "name", "tasks", path)
        task_options = fill(family(tasks_name), tasks, f"{path} [tasks]")
    normalisation = fill(Normalisation, _section(table, "normalisation", path, {}), f"{path} [normalisation]")
    training = fill(Training, _section(table, "training", path, {}), f"{path} [training]")
    trained_with = machine_of(training)
    training = replace(training, **{setting: getattr(Training, setting) for setting in MACHINE})
    return RunConfig(name, options, tasks_name, task_options, normalisation, training, trained_with)


def machine_of(training: Training) -> dict[str, Any]:
    """The settings of the machine that aren't the usual ones."""
    return {name: getattr(training, name) for name in MACHINE if getattr(training, name) != getattr(Training, name)}


def flags(options: Mapping[str, Any]) -> str:
    """Options as one would type them, each after a space."""
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(f'{value}')}" for name, value in options.items())


def _section(table: dict[str, Any], name: str, path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    section = table.get(name, default)
    if not isinstance(section, dict):
        raise UsageError(f"{path} needs a section [{name}]")
    return dict(section)


def _name(section: dict[str, Any], key: str, title: str, path: Path) -> str:
    name = section.pop(key, None)
    if not isinstance(name, str):
        raise UsageError(f'{path} [{title}] needs {key} = "..."')
    return name
