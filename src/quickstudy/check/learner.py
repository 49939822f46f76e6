"""The contract of a learner, clause by clause, tried out on small tasks of every kind."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import tomli_w
import torch
from torch import Tensor

from quickstudy.arguments import checked, config_class, fill, unwrapped
from quickstudy.check.report import Broken, Report, judged
from quickstudy.check.walk import global_seeds, global_states, seed_globally
from quickstudy.data.rollout import Lifetime, collect_lives, start_trials
from quickstudy.data.session import Session
from quickstudy.evaluation import evaluate
from quickstudy.families import make as make_tasks
from quickstudy.ops.fit import require_fit
from quickstudy.ops.spaces import action_fault
from quickstudy.ops.state import Ledger, copy_state, leaves
from quickstudy.protocol import Experience, Learner, Policy, Shard, TaskDistribution, counter
from quickstudy.runs.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.work import InProcess, LocalSite

Make = Callable[..., Learner]

SMALL_TASKS: dict[str, dict[str, Any]] = {
    "bandit": {"arms": 3, "pulls": 3, "episodes_per_trial": 2},
    "point-navigation": {"max_episode_steps": 5, "episodes_per_trial": 2},
    "cart-pole": {"max_episode_steps": 12, "episodes_per_trial": 3},
}
"""A discrete and a continuous kind, and one whose episodes differ in length."""
NAMES = ("name", "tasks", "device", "lanes", "config", "seed", "iteration", "explorer", "adapt", "train_step", "state_dict")
"""What a learner must have, beside load_state_dict."""
CLOSE = 1e-4
"""A batch of one multiplies matrices of another size, so its actions may differ in the last bits."""


@dataclass(frozen=True)
class Subject:
    """A learner under trial: `make(tasks, config, seed=..., device=...)` builds it."""

    make: Make
    config: Any
    seed: int = 0

    def on(self, kind: str, seed: int | None = None) -> Learner:
        """A new one on one kind of task."""
        tasks = make_tasks(kind, **SMALL_TASKS[kind])
        return self.make(tasks, self.config, seed=self.seed if seed is None else seed, device="cpu")


@checked
def check_learner(make: Make, config: Any = None, *, seed: int = 0) -> Report:
    """Runs a learner through its contract; `make` is its class, or a function of (tasks, config, *, seed, device).

    A small `config` makes it quick; by default it is `make.Config()`.
    """
    config = config or config_class(make)()
    subject = Subject(make, config, seed)
    with global_seeds(seed):
        findings = judged({name: partial(clause, subject) for name, clause in CLAUSES.items()})
    named = unwrapped(make)
    return Report(f"{getattr(named, '__name__', named)}, seed {seed}", findings)


def train(learner: Learner, iterations: int = 1) -> list[dict[str, float]]:
    """Some meta-iterations in this process."""
    work = InProcess(learner.tasks, learner.device)
    try:
        return [learner.train_step(work) for _ in range(iterations)]
    finally:
        work.close()


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two states differ."""
    ours, theirs = dict(leaves(one)), dict(leaves(other))
    places = [place for place in ours.keys() | theirs.keys() if not equal(ours.get(place), theirs.get(place))]
    return sorted("/".join(map(str, place)) for place in places)


def equal(one: Any, other: Any) -> bool:
    """Whether two values of a state are the same bits."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Ledger) and isinstance(other, Ledger):
        tables = [[table for _, table in ledger.tables()] for ledger in (one, other)]
        return len(tables[0]) == len(tables[1]) and not any(map(differing, *tables))
    return type(one) is type(other) and bool(one == other)


def protocol(subject: Subject) -> str:
    """It has what the protocol asks for, and its policy acts in every lane."""
    for kind in SMALL_TASKS:
        learner = subject.on(kind)
        missing = [name for name in NAMES if not hasattr(learner, name)]
        if missing:
            raise Broken(f"it has no {', '.join(missing)}; see quickstudy.protocol.Learner")
        policy = learner.explorer()
        if not isinstance(policy, Policy) or not is_dataclass(policy):
            raise Broken("explorer() must return a frozen dataclass with initial_memory and act; see protocol.Policy")
        site, lanes = LocalSite(learner.tasks), 2
        env, percept = start_trials(site, lanes, Shard(subject.seed, 0, 0, 3, "train"))
        memory = policy.initial_memory(3, lanes)
        act, later = policy.act(percept, memory, counter(subject.seed, 0, "check"))
        expected = (3, lanes, *(learner.tasks.action_space.shape or ()))
        if act.action.shape != expected:
            raise Broken(f"on {kind}, actions have shape {tuple(act.action.shape)}, not {expected}: (task, lane, ...)")
        if fault := action_fault(learner.tasks.action_space, act.action):
            raise Broken(f"on {kind}, it gave an action that can't be taken: {fault}")
        if memory.keys() != later.keys() or any(memory[name].shape != later[name].shape for name in memory):
            raise Broken(f"on {kind}, act changed the names or shapes of the memory")
        if any(value.shape[:2] != (3, lanes) for value in (*memory.values(), *act.notes.values())):
            raise Broken(f"on {kind}, memory and notes must begin with the axes (task, lane)")
        env.close()
    return f"acts on {', '.join(SMALL_TASKS)}"


def metrics(subject: Subject) -> str:
    """A meta-iteration counts itself, says how many steps it took, and measures only finite numbers."""
    for kind in SMALL_TASKS:
        learner = subject.on(kind)
        measured = train(learner)[0]
        if learner.iteration != 1:
            raise Broken(f"after one train_step, iteration is {learner.iteration}; add 1 to it")
        if measured.get("rollout/timesteps", 0) <= 0:
            raise Broken("train_step must return rollout/timesteps, the environment steps that it took")
        odd = [name for name, value in measured.items() if not isinstance(value, float | int) or not math.isfinite(value)]
        if odd:
            raise Broken(f"on {kind}, the metrics {', '.join(odd)} are no finite numbers")
    return "counts itself and its steps, and measures finite numbers"


def configuration(subject: Subject) -> str:
    """The configuration is a frozen dataclass of plain values, which a file can hold."""
    config = subject.config
    if not is_dataclass(config) or isinstance(config, type):
        raise Broken("the configuration must be a frozen dataclass")
    try:
        tomli_w.dumps(asdict(config))
    except TypeError as error:
        raise Broken(f"the configuration can't be written as TOML ({error}): use numbers, texts and booleans") from error
    if fill(type(config), asdict(config), "the configuration") != config:
        raise Broken("the configuration changes when it is written and read")
    return f"{type(config).__qualname__} with {len(asdict(config))} fields"


def seeds(subject: Subject) -> str:
    """The same seed gives the same bits, another seed others."""
    for kind in SMALL_TASKS:
        one, again, other = subject.on(kind), subject.on(kind), subject.on(kind, subject.seed + 1)
        measured = [train(learner, 2) for learner in (one, again, other)]
        places = differing(one.state_dict(), again.state_dict())
        if places:
            raise Broken(f"on {kind}, equal seeds gave different {', '.join(places[:3])}: draw from counter(seed, ...)")
        if measured[0] != measured[1]:
            raise Broken(f"on {kind}, equal seeds gave different metrics")
        if not differing(one.state_dict(), other.state_dict()):
            raise Broken(f"on {kind}, another seed gave the same bits: the seed is not used")
    return "two meta-iterations from one seed are equal bit for bit"


def global_randomness(subject: Subject) -> str:
    """Global random states are neither read nor moved."""
    states = []
    for seed in (1, 2):
        seed_globally(seed)
        before = global_states()
        learner = subject.on(next(iter(SMALL_TASKS)))
        train(learner)
        if any(not equal(before[name], value) for name, value in global_states().items()):
            raise Broken("a global random state moved: draw with generators from counter(seed, ...), initial weights too")
        states.append(learner.state_dict())
    if differing(*states):
        raise Broken("training depends on a global random state: draw with generators from counter(seed, ...)")
    return "no global random state is read or moved"


def resuming(subject: Subject) -> str:
    """A learner that was stored and loaded is the same policy, and goes on bit for bit."""
    for kind in SMALL_TASKS:
        learner, restored = subject.on(kind), subject.on(kind)
        train(learner, 2)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder) / "checkpoints", 2, learner.state_dict())
            stored = load_checkpoint(Path(folder) / "checkpoints" / "00000002")
            try:
                require_fit("", stored, restored.state_dict())
                restored.load_state_dict(stored)
            except ValueError as error:
                raise Broken(f"on {kind}, a learner as built doesn't take the state of a trained one: {error}") from error
        places = differing(learner.state_dict(), restored.state_dict())
        if places:
            raise Broken(f"on {kind}, loading changed {', '.join(places[:3])}")
        if not torch.equal(evaluate(learner, num_tasks=5).returns, evaluate(restored, num_tasks=5).returns):
            raise Broken(f"on {kind}, the loaded learner acts otherwise: state_dict leaves out what the policy depends on")
        if train(learner, 2) != train(restored, 2) or differing(learner.state_dict(), restored.state_dict()):
            raise Broken(f"on {kind}, the loaded learner trains otherwise: state_dict leaves out what the next step depends on")
    return "stored, loaded and trained on: equal bit for bit"


def purity(subject: Subject) -> str:
    """Adapting and evaluating change nothing in the learner, and an explorer doesn't change when its learner trains."""
    for kind in SMALL_TASKS:
        learner = subject.on(kind)
        before, explorer = copy_state(learner.state_dict()), learner.explorer()
        first = evaluate(learner, num_tasks=5).returns
        if not torch.equal(first, evaluate(learner, num_tasks=5).returns):
            raise Broken(f"on {kind}, evaluating twice gave two results")
        places = differing(before, learner.state_dict())
        if places:
            raise Broken(f"on {kind}, evaluating changed {', '.join(places[:3])}: adapt must return a new policy")
        stored = cloudpickle.dumps(explorer)
        train(learner)
        if cloudpickle.dumps(explorer) != stored:
            raise Broken(f"on {kind}, training changed an explorer that was given out before: give it copies of the weights")
    return "adapting and evaluating change nothing"


def sending(subject: Subject) -> str:
    """A policy that was sent to another process acts the same."""
    for kind in SMALL_TASKS:
        learner = subject.on(kind)
        lives = []
        for policy in (learner.explorer(), cloudpickle.loads(cloudpickle.dumps(learner.explorer()))):
            lives.append(lived(learner, policy, tasks=2, greedy=False))
        if any(not torch.equal(one.act.action, other.act.action) for one, other in zip(*lives, strict=True)):
            raise Broken(f"on {kind}, a policy that was pickled acts otherwise")
    return "a pickled policy acts the same"


def lived(learner: Learner, explorer: Policy, tasks: int, greedy: bool) -> list[Experience]:
    """Trials as the evaluator lives them."""
    site = LocalSite(learner.tasks)
    life = Lifetime(explorer, learner.adapt, learner.lanes, learner.tasks.episodes_per_trial, greedy)
    try:
        return collect_lives(site, life, Shard(learner.seed, 0, 0, tasks, "test"))
    finally:
        site.close()


def session(subject: Subject) -> str:
    """A session that lives a recorded trial acts as the evaluator did, also when it is stored and restored on the way."""
    for kind in SMALL_TASKS:
        learner = subject.on(kind)
        train(learner)
        sampled = learner.lanes == 1
        for experience, task, live in replays(learner, sampled):
            actions = follow(experience, task, live, learner.tasks)
            for place, (mine, theirs) in enumerate(actions):
                if not torch.allclose(mine.double(), theirs.double(), rtol=CLOSE, atol=CLOSE):
                    raise Broken(f"on {kind}, step {place} of a session: {mine.tolist()}, the evaluator did {theirs.tolist()}")
    return "a session acts as the evaluator does, and so does its stored copy"


def replays(learner: Learner, sampled: bool) -> list[tuple[list[Experience], int, Session]]:
    """Recorded trials with a session to live each of them: likeliest actions, and sampled ones where one lane is pooled."""
    greedy = lived(learner, learner.explorer(), tasks=2, greedy=True)
    found = [(greedy, task, Session(learner, greedy=True)) for task in range(2)]
    if sampled:
        found.append((lived(learner, learner.explorer(), tasks=1, greedy=False), 0, Session(learner, seed=learner.seed)))
    return found


def follow(trial: list[Experience], task: int, live: Session, tasks: TaskDistribution) -> list[tuple[Tensor, Tensor]]:
    """The session's actions beside the recorded ones; in the middle of the second episode it is stored and restored."""
    pairs = []
    for number, episode in enumerate(trial):
        for lane in range(episode.valid.shape[1]):
            for step in range(int(episode.valid[task, lane].sum())):
                at = task, lane, step
                live.act(raw(tasks, episode.percept.observation[at]))
                assert live._acted is not None
                pairs.append((live._acted.act.action[0, 0], episode.act.action[at]))
                # what follows is judged by the actions that were recorded
                transition = episode.transition
                ends = bool(transition.terminated[at]), bool(transition.truncated[at])
                live.feedback(float(transition.reward[at]), *ends, raw(tasks, transition.arrival[at]))
                if number == 1 and step == 1 and lane == 0:
                    live = stored_and_restored(live.fork(), live)
    return pairs


def stored_and_restored(live: Session, other: Session) -> Session:
    """A session through a file, while the one that it was forked from goes astray."""
    with tempfile.TemporaryDirectory() as folder:
        live.save(Path(folder) / "session.safetensors")
        restored = Session.restore(Path(folder) / "session.safetensors", live.agent)
    other.new_task()
    return restored


def raw(tasks: TaskDistribution, observation: Tensor) -> Any:
    """An observation as a torch-native environment gives it."""
    return observation.numpy() if observation.dim() else observation.item()


CLAUSES: dict[str, Callable[[Subject], str]] = {
    "protocol": protocol,
    "configuration": configuration,
    "metrics": metrics,
    "seeds": seeds,
    "global randomness": global_randomness,
    "resuming": resuming,
    "purity": purity,
    "sending": sending,
    "session": session,
}
"""Each check by name: it says what it saw, or raises Broken."""
