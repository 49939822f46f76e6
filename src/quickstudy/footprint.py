"""How much memory a learner needs, reckoned from its settings and its tasks' spaces before any of it is taken.

Settings are known by their standard names, so that a learner of one's own is reckoned as well, as far as it has them. The
figures are within a factor of two or three of what is measured: enough to refuse what no machine could hold, in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

Parts = dict[str, float]
"""Bytes, by what they are for."""
NUMBER = 4
CLOCK_AND_FLAGS = 8
"""Features of a percept besides observation and action."""
COPIES = 8
"""Of a network's weights: themselves, gradients, Adam's two means, the policy that collects, the state before, one to save."""
STEP_COPIES = 4
"""Of an observation that is lived: as seen and as arrived at, step by step and stacked."""
INPUT_COPIES = 4
"""Of what a network reads at a step: by task, by time, and what a minibatch takes of them."""
WORD = 32
"""Numbers that stand for a word."""
CODES, CODES_UP_TO, FEW_CODES, NATURE_FROM = 8, 11, 32, 36
"""Planes that a channel of codes becomes, and which images have codes, as in `nets/senses.py`."""
TABLES = 5
"""Of states, actions and next states that a planner has at once: counts before and after a step, and what it makes of them."""
UNITS = 10
"""Numbers that a memory's step keeps for its gradient, for each of its units."""
PLAN_COPIES = 3
"""Of the candidates of a planner: noise as it is drawn and as it is coloured, and the plans that are tried."""
LAYER_COPIES = 3
"""Of a layer's numbers where no gradient is kept: before and after its activation, and those of the layer before."""
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""What a container may have, and has."""
SLACK = 1.5
"""How many times what is free may be reckoned: it supposes that all episodes last as long as they may."""
COMFORTABLE = 2**26
"""Bytes for which nobody need ask what is free."""
EVALUATED = 1024
"""Lanes that an evaluation lives at once."""


class Sizes:
    """The sizes that follow from a learner's settings, zero or one where it has none of that name, and from its tasks."""

    def __init__(self, tasks: Any, config: Any):
        self._config, value = config, self.value
        self.episode = max(1, tasks.max_episode_steps)
        self.trial = max(1, tasks.episodes_per_trial) * self.episode
        self.reading = reading_of(tasks.observation_space, config)
        self.observation, seen = held(tasks.observation_space)
        seen = self.reading.features if self.reading else seen
        self.action, self.done = held(tasks.action_space)
        done = self.done
        self.task = sum(math.prod(getattr(each, "shape", ())) for each in getattr(tasks, "parameters", {}).values())
        latent = value("latent_size") + value("belief_size")
        # a planner's advice on each action, and the tables in which it counts
        plans = hasattr(config, "prior_mean")
        self.inputs = seen + done + CLOCK_AND_FLAGS + (2 * done if plans else 0)
        self.tables = NUMBER * TABLES * seen**2 * done if plans else 0
        self.hidden, layers = value("hidden_size"), value("hidden_layers", 1)
        self.soft, self.recurrent = hasattr(config, "tau"), hasattr(config, "memory")
        self.heads = 5 if self.soft else 2
        into = self.inputs + latent
        memory = 4 * self.hidden * (into + self.hidden) if self.recurrent else 0
        wide = value("belief_size")
        belief = 4 * wide * (self.inputs + wide) + 2 * wide * (self.inputs + wide + latent) if wide else 0
        self.head = self.hidden * done
        self.weights = memory + belief + self.heads * (into * self.hidden + layers * self.hidden**2 + self.head)
        self.units = (UNITS if self.recurrent else 1) * self.hidden + self.heads * self.hidden * (layers + 1) + 4 * done
        # of what is told of a step, behind the bytes of an observation
        self.beside = done + CLOCK_AND_FLAGS
        if self.reading:
            # policy and critics have one each where they don't share a network
            self.weights += (2 if self.soft else 1) * self.reading.weights
            self.units += self.reading.units
        self.lanes = value("lanes", 1)
        self.trials = value("trials") or value("meta_batch_size") or value("n_envs")
        self.folds = value("inner_steps") + 1
        # who pushes weights at random lives twice, and no derivative goes further back than a step
        self.ways = 2 if hasattr(config, "perturbation") else 1
        self.chosen = value("num_train_tasks")
        # who adapts by gradient lives an episode for each step and one more, who lives in many environments one in each
        self.steps = self.folds * self.episode if self.folds > 1 else self.episode if value("n_envs") else self.trial

    def value(self, name: str, default: int = 0) -> int:
        """A setting that is a whole number."""
        found = getattr(self._config, name, default)
        return found if isinstance(found, int) else default

    @property
    def step(self) -> int:
        """Bytes of a step that is lived."""
        return STEP_COPIES * self.observation + 3 * self.action + 60

    @property
    def read(self) -> int:
        """Bytes of what a network reads at a step."""
        return self.observation + NUMBER * self.beside if self.reading else NUMBER * self.inputs


class Reading(NamedTuple):
    """What a reader takes that stands before networks where observations are images, sounds or texts."""

    features: int
    """Numbers that it makes of an observation."""
    weights: int
    units: int
    """Numbers that it keeps for its gradient, of each observation."""


def reading_of(space: Any, config: Any) -> Reading | None:
    """The reader of a space with the settings that a learner has; None where observations are vectors."""
    parts, hidden = getattr(space, "parts", {"": space}), getattr(config, "hidden_size", 0)
    if not hasattr(space, "parts") and not any(sees(space)):
        return None
    found = [read_part(part, hidden, config) for part in parts.values()]
    # features, what their norm keeps, and their activation
    return Reading(hidden * len(found), sum(each[0] for each in found), sum(each[1] + 4 * hidden for each in found))


def sees(space: Any) -> tuple[bool, bool, bool]:
    """Whether an observation is an image, a sound, a text: what `ops.senses.sense_of` tells, from shapes alone."""
    shape, text = getattr(space, "shape", None) or (), hasattr(space, "numbers")
    bytes_each = getattr(getattr(space, "dtype", None), "itemsize", NUMBER)
    image = len(shape) > 2 or (len(shape) == 2 and bytes_each == 1 and min(shape) >= 16)
    sound = len(shape) == 1 and shape[0] >= 64 and not text and math.isfinite(float(space.high[0]))
    return image, sound, text


def read_part(space: Any, hidden: int, config: Any) -> tuple[int, int]:
    """Weights that read a part of an observation, and the numbers that they keep for their gradient."""
    image, sound, text = sees(space)
    if text:
        # a trial tells the same at every step, and each text is read once
        return space.numbers * WORD + 3 * hidden * (WORD + hidden), hidden
    if sound:
        return 4400 + 256 * hidden, 16 * space.shape[0]
    if image:
        weights, units, left = read_image(space, getattr(config, "vision", "auto"))
        return weights + left * hidden, units + left
    count = held(space)[1]
    return count * hidden, count if hasattr(space, "high") else 0


def read_image(space: Any, kind: str) -> tuple[int, int, int]:
    """Weights of convolutions, the numbers that they keep for their gradient, and those that they give."""
    shape = space.shape if len(space.shape) > 2 else (*space.shape, 1)
    high, wide, _ = sorted(shape[-3:], reverse=True)  # the smallest end is the channels
    planes, weights = math.prod(shape) // (high * wide), 0
    codes = int(space.high.max()) + 1 if space.dtype.itemsize == 1 else 0
    if codes > 2 and (wide <= CODES_UP_TO or (wide < NATURE_FROM and codes <= FEW_CODES)):
        weights, planes = codes * planes * CODES, planes * CODES
    units = 2 * high * wide * planes
    if kind == "impala":
        # at each size a convolution at the size before, and nine maps
        layers = [(high * wide // 4**level, out) for level, out in enumerate((16, 32, 32))]
        units += sum(size * out + 9 * size * out // 4 for size, out in layers)
        return weights + 144 * planes + 97_000, units, 32 * math.ceil(high / 8) * math.ceil(wide / 8)
    if kind == "grid" or (kind == "auto" and wide < NATURE_FROM):
        return weights + 64 * planes + 2048, units + 96 * (high - 1) * (wide - 1), 32 * (high - 2) * (wide - 2)
    places = []
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        high, wide = (max(1, (size - kernel) // stride + 1) for size in (high, wide))
        places.append(high * wide)
    first, second, third = places
    return weights + 2048 * planes + 70_000, units + 2 * (32 * first + 64 * (second + third)), 64 * third


def held(space: Any) -> tuple[int, int]:
    """The bytes of an element of a space as it is kept, and how many numbers a network reads of it."""
    if hasattr(space, "n"):
        return 8, int(space.n)
    if hasattr(space, "nvec"):
        return 8 * int(space.nvec.size), int(space.nvec.sum())
    count = max(1, math.prod(getattr(space, "shape", None) or (1,)))
    return getattr(getattr(space, "dtype", None), "itemsize", NUMBER) * count, count


def to_build(tasks: Any, config: Any) -> Parts:
    """What making a learner takes: networks with all that training keeps of them, training tasks, a trial in a replay."""
    sizes = Sizes(tasks, config)
    record = sizes.trial if sizes.value("buffer_trials") else 0
    return {
        f"a record of a trial of {many(record)} steps": 2.0 * record * record_of(sizes),
        f"networks of {many(sizes.weights)} weights": COPIES * NUMBER * sizes.weights,
        f"parameters of {many(sizes.chosen)} training tasks": 6.0 * NUMBER * sizes.chosen * sizes.task,
    }


def to_train(tasks: Any, config: Any) -> Parts:
    """What a meta-iteration and the replay take besides."""
    sizes = Sizes(tasks, config)
    lived = sizes.trials * sizes.lanes * sizes.steps
    minibatches = max(1, sizes.value("minibatches", 1))
    parts = {
        f"experience of {many(sizes.trials)} x {many(sizes.lanes)} trials of {many(sizes.steps)} steps": (
            sizes.ways * lived * sizes.step
        ),
        f"parameters of {many(sizes.trials)} tasks": 6.0 * NUMBER * sizes.trials * sizes.task,
        f"counts of {many(sizes.trials)} trials": sizes.trials * sizes.tables,
    }
    if sizes.folds > 1:
        # a trust region keeps one more for its products; who searches by pushes has that of one step at a time
        graphs, deep = 3 if getattr(config, "outer", "") == "trpo" else 2, lived
        if sizes.ways > 1:
            graphs, deep = 1, lived / sizes.folds
        adapted, once = sizes.weights, 0
        if sizes.reading and getattr(config, "adapt", None) != "all":
            # the head alone adapts, and what stands before it is read once
            adapted, once = sizes.head, sizes.reading.units
        kept = graphs * (sizes.inputs + sizes.units - once) + once
        parts[f"gradients through {many(sizes.folds - 1)} steps on {many(sizes.trials)} tasks"] = (
            NUMBER * deep * kept + 2 * NUMBER * adapted * sizes.trials * sizes.folds
        )
    elif sizes.soft:
        name, drawn = learnt_from(sizes)
        parts[name] = drawn * 2 * (INPUT_COPIES * sizes.read + NUMBER * sizes.units)
    else:
        parts["minibatches and their gradients"] = lived * (INPUT_COPIES * sizes.read + NUMBER * sizes.units / minibatches)
    return parts | planned_of(sizes, sizes.trials * sizes.lanes) | replay_of(sizes)


def planned_of(sizes: Sizes, lanes: int) -> Parts:
    """What a planner tries at once in so many lanes: candidates, each by every particle, where no gradient is kept."""
    candidates = sizes.value("candidates")
    if not candidates:
        return {}
    particles, refits = sizes.value("particles", 1), sizes.value("refits", 1)
    tried = particles * (2 * sizes.inputs + LAYER_COPIES * sizes.hidden)
    drawn = PLAN_COPIES * refits * sizes.value("plan_steps", 1) * sizes.done
    return {f"{many(candidates)} plans in each of {many(lanes)} trials": NUMBER * lanes * candidates * (tried + drawn)}


def learnt_from(sizes: Sizes) -> tuple[str, int]:
    """What an off-policy update reads, and how many steps that is."""
    batch = sizes.value("batch_size", 1)
    if sizes.value("buffer_trials"):
        steps = min(sizes.value("slice_length") or sizes.trial, sizes.trial)
        return f"batches of {many(batch)} trials of {many(steps)} steps", batch * steps
    tasks = sizes.value("meta_batch_size", 1)
    return f"batches of {many(tasks)} x {many(batch)} transitions", tasks * (batch + sizes.value("context_size"))


def record_of(sizes: Sizes) -> int:
    """Bytes of a step of a trial in a replay."""
    return sizes.read + sizes.action + 4 * NUMBER


def replay_of(sizes: Sizes) -> Parts:
    """What a replay keeps when it is full."""
    if sizes.value("buffer_on_disk"):
        return {}
    if sizes.value("buffer_trials"):
        trials = sizes.value("buffer_trials") + sizes.trials
        return {f"replay of {many(trials)} trials": trials * sizes.trial * record_of(sizes)}
    if sizes.value("buffer_size"):
        rows = sizes.value("buffer_size") + sizes.trial
        name = f"replay of {many(sizes.chosen)} tasks x {many(rows)} transitions"
        # what is read is kept once, a vector beside what it led to
        kept = 1 if sizes.reading else 2
        return {name: sizes.chosen * rows * (kept * sizes.observation + sizes.action + 4 * NUMBER)}
    return {}


def to_evaluate(agent: Any, tasks: Any, num_tasks: int, batch: int | None = None) -> Parts:
    """What an evaluation lives and adapts at once."""
    config = getattr(agent, "config", None)
    sizes = Sizes(tasks, config)
    count = min(num_tasks, max(1, EVALUATED // agent.lanes) if batch is None else batch)
    own = 6 if hasattr(config, "fine_tune_steps") else 3 if hasattr(config, "inner_steps") else 0
    return {
        f"experience of {many(count)} x {many(agent.lanes)} episodes of {many(sizes.episode)} steps": (
            count * agent.lanes * sizes.episode * (sizes.step + sizes.read)
        ),
        f"weights of {many(count)} tasks": NUMBER * own * count * sizes.weights,
        f"counts of {many(count)} trials": count * sizes.tables,
        f"parameters of {many(count)} tasks": 6.0 * NUMBER * count * sizes.task,
        **planned_of(sizes, count * agent.lanes),
    }


def shortage(parts: Mapping[str, float], device: str = "cpu") -> str:
    """That all parts together are more than there is free, with the three largest, in words; nothing where they aren't."""
    needed = sum(parts.values())
    if needed <= COMFORTABLE or needed <= SLACK * (free := free_memory(device)):
        return ""
    largest = sorted(parts.items(), key=lambda part: -part[1])[:3]
    told = ", ".join(f"{name} {in_words(size)}" for name, size in largest if size > 0.01 * needed)
    where = "this machine" if device == "cpu" else device
    return f"it needs about {in_words(needed)}, {where} has {in_words(free)} free: {told}; make these smaller"


def free_memory(device: str) -> float:
    """Bytes that can still be had here, within the limits of a container, or on a GPU."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(torch.device(device))[0])
    import psutil

    free = float(psutil.virtual_memory().available)
    for most, used in LIMITS:
        try:
            free = min(free, float(Path(most).read_text()) - float(Path(used).read_text()) + cached(Path(used).parent))
        except (OSError, ValueError):  # no container, or one that says "max"
            continue
    return max(0.0, free)


def cached(group: Path) -> float:
    """Bytes that a container's use counts and that are given back where they are needed: files that were read."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0.0
    figures = dict(line.split(" ", 1) for line in lines)
    return float(figures.get("total_inactive_file", figures.get("inactive_file", 0)))


def many(count: int) -> str:
    """A number as people read it."""
    return f"{count:,}" if count < 10**7 else f"{count:.2g}"


def in_words(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
