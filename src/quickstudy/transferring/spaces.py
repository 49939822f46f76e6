"""What is kept of a network where observations or actions are others: its trunk, and of its ends what agrees."""

from __future__ import annotations

from quickstudy.errors import UsageError
from quickstudy.nets.networks import Weights
from quickstudy.ops.features import vector_size
from quickstudy.ops.senses import is_read
from quickstudy.protocol import TaskDistribution
from quickstudy.tasks.observes import observes


def same_spaces(source: TaskDistribution, target: TaskDistribution) -> bool:
    """Whether a policy of one can act in the other as it is."""
    return source.observation_space == target.observation_space and source.action_space == target.action_space


def taken_across(
    source: TaskDistribution, target: TaskDistribution, trained: Weights, fresh: Weights, policy_end: str, value_end: str
) -> Weights:
    """A network's weights for other spaces, by name: `trained` where they mean the same there, and first weights elsewhere.

    Of the first layers, what reads an input that both families have; the policy's last layer where the actions are as many, of
    the same kind; all between them. Values begin anew, since other rewards are worth something else. UsageError where images,
    sounds or texts are read.
    """
    for tasks in (source, target):
        if is_read(tasks.observation_space):
            raise UsageError(f"spaces differ, and {tasks!r} shows images, sounds or texts: across spaces both must be vectors")
    ends = [f"{value_end}."] + ([] if same_actions(source, target) else [f"{policy_end}."])
    firsts, found = first_layers(fresh), {}
    for name, new in fresh.items():
        before = trained.get(name)
        if before is None or name.startswith(tuple(ends)):
            continue
        if name in firsts:
            found[name] = new.clone()
            there, here = columns(source, target, before.shape[-1], new.shape[-1])
            found[name][..., here] = before[..., there]
        elif before.shape == new.shape:
            found[name] = before
    return found


def same_actions(source: TaskDistribution, target: TaskDistribution) -> bool:
    """Whether actions are of one kind and as many numbers, whatever their units: policies give them as shares of a range."""
    one, other = source.action_space, target.action_space
    return type(one) is type(other) and one.shape == other.shape and vector_size(one) == vector_size(other)


def first_layers(weights: Weights) -> list[str]:
    """The matrices that read a network's inputs: its encoders', else its memories', else those of each head's first layer."""
    for ends in ("encoder.weight",), ("memory.from_input",), (".0.weight",):
        if found := [name for name in weights if name.endswith(ends)]:
            return found
    return []


def columns(source: TaskDistribution, target: TaskDistribution, before: int, now: int) -> tuple[list[int], list[int]]:
    """Which inputs are the same, of `before` and `now`: by name where both families name theirs, else where they are as many.

    Behind the observation stands what a recurrent policy reads besides, which is kept where it is as long.
    """
    old, new = vector_size(source.observation_space), vector_size(target.observation_space)
    names = observes(source), observes(target)
    if all(names):
        pairs = [(names[0].index(name), place) for place, name in enumerate(names[1]) if name in names[0]]
    else:
        pairs = [(place, place) for place in range(new)] if old == new else []
    if before - old == now - new:
        pairs += [(old + place, new + place) for place in range(now - new)]
    return [there for there, _ in pairs], [here for _, here in pairs]
