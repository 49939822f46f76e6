"""Experience kept for later: a row of records for each training task, sampled in many ways, saved bit by bit.

A record is whatever a method learns from, a transition or a whole trial, as named tensors of one shape each. A row keeps its
newest `capacity` records. What was written once never changes, so a checkpoint writes only what came after the one before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from jaxtyping import Int, Shaped
from torch import Generator, Tensor

from quickstudy.data.priorities import Priorities
from quickstudy.errors import shorten
from quickstudy.ops.fit import MAX_COUNT, is_finite, require_range
from quickstudy.ops.state import Ledger, Segment, Table
from quickstudy.ops.tree import within

Records = dict[str, Tensor]
"""Named tensors with the same leading axes."""


class Replay:
    """Records of a fixed set of training tasks; a task's number is its row.

    `spare` is how many records a row may get between two states that are saved: they wait there before they take the place of
    the oldest, so that the state before can still be saved. With `on_disk`, records lie in a memory-mapped file without a name
    in the folder for temporary files, and memory holds what is being read. With `prioritised`, records can be drawn by
    priority over all tasks, which is not part of the ledger: save `priorities.values` beside it. `like` is some record, (1,
    ...) each: what is loaded must have its names, shapes and kinds of numbers.
    """

    def __init__(
        self,
        tasks: int,
        capacity: int,
        spare: int,
        *,
        on_disk: bool = False,
        prioritised: bool = False,
        like: Mapping[str, Tensor] | None = None,
        device: str = "cpu",
    ):
        self.capacity, self.size, self.on_disk, self.device = capacity, capacity + spare, on_disk, device
        self.priorities = Priorities(tasks * self.size) if prioritised else None
        self.added = torch.zeros(tasks, dtype=torch.long)
        """How many records each task was ever given."""
        self.like = like
        self.fields: Records = {}
        """Each (task * place, ...): record number n of a task lies in the task's place n modulo the size of a row."""
        self._journal = Journal()

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def counts(self) -> Int[Tensor, "task"]:
        """How many records each task has now."""
        return self.added.clamp(max=self.capacity)

    def extend(self, task: Int[Tensor, "record"], records: Mapping[str, Shaped[Tensor, "record ..."]]) -> Int[Tensor, "record"]:
        """Gives each record to its task, in their order; returns the numbers they get in its row."""
        task = task.cpu()
        number = self.added[task] + rank_among_equals(task)
        before = self.added
        self.added = before + torch.bincount(task, minlength=len(before))
        self._write(task, number, records)
        self._journal.unwritten.append((task, number))
        if self.priorities is not None:
            self._follow(before, task, number)
        return number

    def sample(
        self, tasks: Int[Tensor, "batch"], count: int, generator: Generator, recent: int | None = None
    ) -> Mapping[str, Shaped[Tensor, "batch {count} ..."]]:
        """Draws `count` records of each task, uniform over all it has, or over its newest `recent` ones, with replacement."""
        return self.at(tasks[:, None], self.draw(tasks, count, generator, recent))

    def draw(
        self, tasks: Int[Tensor, "batch"], count: int, generator: Generator, recent: int | None = None
    ) -> Int[Tensor, "batch {count}"]:
        """The numbers of the records that `sample` takes."""
        choices = self.counts[tasks] if recent is None else self.counts[tasks].clamp(max=recent)
        share = torch.rand(len(tasks), count, generator=generator, dtype=torch.float64)
        return self.added[tasks][:, None] - 1 - (share * choices[:, None]).long()

    def slices(
        self, tasks: Int[Tensor, "batch"], count: int, steps: int, generator: Generator, recent: int | None = None
    ) -> Mapping[str, Shaped[Tensor, "batch {count} {steps} ..."]]:
        """Draws stretches of `steps` consecutive steps out of records that are trials.

        Time is the first axis of each field but `ending`, which is taken whole, and `valid` says which steps of a trial were
        lived, the first ones. A stretch is uniform over those that lie within the trial; of a shorter trial it is the whole,
        and `valid` ends where it did.
        """
        number = self.draw(tasks, count, generator, recent)
        place = self.place(tasks[:, None], number)
        lived = self._lived(place)
        share = torch.rand(place.shape, generator=generator, dtype=torch.float64)
        start = (share * (lived - steps + 1).clamp(min=1)).long()
        whole = {"ending": self.at(tasks[:, None], number)["ending"]} if "ending" in self.fields else {}
        return self._stretches(place, start[..., None] + torch.arange(steps)) | whole

    def around(
        self, tasks: Int[Tensor, "batch"], count: int, before: int, steps: int, generator: Generator
    ) -> Mapping[str, Shaped[Tensor, "batch {count} {before}+{steps} ..."]]:
        """Draws `steps` consecutive steps out of records that are trials, and the `before` steps that came before them.

        As in `slices`, but the first of the steps is uniform over those of the trial; `valid` is false where the trial hadn't
        begun, or was over.
        """
        place = self.place(tasks[:, None], self.draw(tasks, count, generator))
        share = torch.rand(place.shape, generator=generator, dtype=torch.float64)
        start = (share * self._lived(place)).long() - before
        step = start[..., None] + torch.arange(before + steps)
        found = self._stretches(place, step.clamp(min=0))
        return found | {"valid": found["valid"] & ((step >= 0) & (step < self.fields["valid"].shape[1])).to(self.device)}

    def _lived(self, place: Int[Tensor, "*lead"]) -> Int[Tensor, "*lead"]:
        """How many steps were lived in each trial."""
        return self.fields["valid"].index_select(0, place.flatten()).sum(-1).view(place.shape).cpu()

    def _stretches(self, place: Int[Tensor, "*lead"], step: Int[Tensor, "*lead steps"]) -> Records:
        """Some steps of each trial; past its end the last there is."""
        longest = self.fields["valid"].shape[1]
        at = (place[..., None] * longest + step.clamp(max=longest - 1).to(place.device)).flatten()
        found = {name: field for name, field in self.fields.items() if name != "ending"}
        return {name: field.flatten(0, 1).index_select(0, at).unflatten(0, step.shape) for name, field in found.items()}

    def at(self, task: Int[Tensor, "*#lead"], number: Int[Tensor, "*lead"]) -> Mapping[str, Shaped[Tensor, "*lead ..."]]:
        """Records by task and number."""
        place = self.place(task, number)
        return {name: field.index_select(0, place.flatten()).unflatten(0, place.shape) for name, field in self.fields.items()}

    def place(self, task: Int[Tensor, "*#lead"], number: Int[Tensor, "*lead"]) -> Int[Tensor, "*lead"]:
        """Where records lie in the fields."""
        return (task * self.size + number % self.size).to(self.device)

    def _write(self, task: Tensor, number: Tensor, records: Mapping[str, Tensor]) -> None:
        if not self.fields:
            rows = len(self.added) * self.size
            self.fields = {name: self._room((rows, *value.shape[1:]), value.dtype) for name, value in records.items()}
        # where a row gets more than it holds, the last ones stay
        kept = number >= self.added[task] - self.size
        place = self.place(task, number)[kept.to(self.device)]
        for name, field in self.fields.items():
            field[place] = records[name][kept.to(records[name].device)].to(field)

    def _room(self, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        if not self.on_disk:
            return torch.zeros(shape, dtype=kind, device=self.device)
        numbers = torch.Size(shape).numel()
        with tempfile.NamedTemporaryFile(prefix="quickstudy-replay-") as file:  # the mapping outlives the name
            file.truncate(max(1, numbers * kind.itemsize))
            return torch.from_file(file.name, shared=True, size=numbers, dtype=kind).view(shape)

    def _follow(self, before: Tensor, task: Tensor, number: Tensor) -> None:
        """New records get the highest priority there is, those that are dropped none."""
        assert self.priorities is not None
        highest = float(self.priorities.values.max()) or 1.0
        first, beyond = ((added - self.capacity).clamp(min=0) for added in (before, self.added))
        rows = torch.arange(len(before)).repeat_interleave(beyond - first)
        dropped = self.place(rows, first[rows] + rank_among_equals(rows)).cpu()
        self.priorities.update(dropped, torch.zeros(len(dropped)))
        alive = number >= beyond[task]
        self.priorities.update(self.place(task, number)[alive].cpu(), torch.full((int(alive.sum()),), highest))

    def draw_by_priority(
        self, count: int, generator: Generator
    ) -> tuple[Int[Tensor, "{count}"], Int[Tensor, "{count}"], Int[Tensor, "{count}"]]:
        """Draws records of any task in proportion to their priorities: their tasks, their numbers, and their leaves."""
        assert self.priorities is not None
        leaf = self.priorities.draw(count, generator)
        task = leaf // self.size
        newest = self.added[task] - 1
        return task, newest - (newest - leaf % self.size) % self.size, leaf

    def ledger(self) -> Ledger:
        """The records as a leaf of a state."""
        return ReplayLedger(self, self.added.clone())

    def alive(self) -> tuple[Int[Tensor, "record"], Int[Tensor, "record"]]:
        """Task and number of each record there is."""
        task = torch.arange(len(self.added)).repeat_interleave(self.counts)
        return task, (self.added - self.counts)[task] + rank_among_equals(task)

    @property
    def most_bytes(self) -> int | None:
        """What one file of its records may have at most; None where no record is known."""
        if self.like is None:
            return None
        record = sum(value.nbytes * (2 if value.is_floating_point() else 8) for value in self.like.values())
        return len(self.added) * self.size * (16 + record)

    def load(self, ledger: Ledger) -> None:
        """Takes over what a ledger holds; ValueError, before anything changes, where its records don't fit."""
        self.take(self.read(ledger))

    def take(self, other: Replay) -> None:
        """Takes over what another one of the same sizes holds."""
        self.added, self.fields, self._journal = other.added, other.fields, other._journal

    def read(self, ledger: Ledger) -> Replay:
        """What a ledger holds, as a replay of these sizes; ValueError where its records don't fit."""
        found = Replay(len(self.added), self.capacity, self.size - self.capacity, on_disk=self.on_disk, device=self.device)
        like = self.like or {name: value[:1] for name, value in self.fields.items()}
        seen: list[tuple[Tensor, Tensor]] = []
        for segment, table in ledger.tables():
            task, number, records = parts_of(table)
            like = like or {name: value[:1] for name, value in records.items()}
            require_records(like, task, number, records, len(self.added))
            found.added = found.added.scatter_reduce(0, task, number + 1, "amax")
            found._write(task, number, records)
            found._journal.note(segment, task, number, len(self.added))
            seen.append((task, number))
        found._journal.home = ledger.home
        found._require_all(seen)
        return found

    def _require_all(self, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Raises ValueError where records are missing among those whose numbers were seen."""
        there = torch.zeros(len(self.added) * self.size, dtype=torch.bool)
        for task, number in seen:
            alive = number >= (self.added - self.counts)[task]
            there[self.place(task, number)[alive.to(self.device)].cpu()] = True
        if int(there.sum()) < len(self):
            raise ValueError(f"the replay holds {int(there.sum())} of the {len(self)} records that its numbers tell of")


def parts_of(table: Table) -> tuple[Tensor, Tensor, Records]:
    """Tasks, numbers and records of a table; ValueError where it is none of a replay."""
    task, number = (table.get(name) for name in ("task", "number"))
    if task is None or number is None or any(not name.startswith("record.") for name in table.keys() - {"task", "number"}):
        raise ValueError(f"the replay has a table with {shorten(sorted(table))}, not with task, number and records")
    return task, number, within("record.", table)


def require_records(like: Mapping[str, Tensor], task: Tensor, number: Tensor, records: Records, tasks: int) -> None:
    """Raises ValueError where records aren't like one, or tasks and numbers none of a replay of so many tasks."""
    for name, each, most in (("task", task, tasks), ("number", number, MAX_COUNT)):
        if each.dtype != torch.long or each.shape != (len(each),) or not len(each):
            raise ValueError(f"the replay's column {name} is no list of whole numbers")
        require_range(f"the replay's column {name}", each, 0, most - 1)
    if records.keys() != like.keys():
        raise ValueError(f"the replay holds records of {shorten(sorted(records))}, not of {shorten(sorted(like))}")
    for name, value in records.items():
        if value.shape != (len(task), *like[name].shape[1:]) or kind_of(value) != kind_of(like[name]):
            raise ValueError(
                f"the replay's records have {shorten(name)} as {value.dtype} with shape {tuple(value.shape)}, it must be"
                f" {kind_of(like[name])} with shape {(len(task), *like[name].shape[1:])}"
            )
        if not is_finite(value):
            raise ValueError(f"the replay's records have NaN or infinity in {name}")


def kind_of(values: Tensor) -> str:
    """What kind of numbers a tensor holds, whatever their width."""
    return "a float" if values.is_floating_point() else "true or false" if values.dtype == torch.bool else "a whole number"


class Journal:
    """Which records of a replay lie in which files, and which in none yet."""

    def __init__(self) -> None:
        self.home: Path | None = None
        """The folder of those files."""
        self.written: list[tuple[Segment, Int[Tensor, "task"]]] = []
        """Each file, and for each task the number after that of its last record in it."""
        self.unwritten: list[tuple[Int[Tensor, "record"], Int[Tensor, "record"]]] = []
        """Tasks and numbers of the records that lie in none, in the order in which they came."""

    def note(self, segment: Segment | None, task: Tensor, number: Tensor, tasks: int) -> None:
        """Records lie in a file now, or, without one, in none."""
        if segment is None:
            self.unwritten.append((task, number))
        else:
            after = torch.zeros(tasks, dtype=torch.long).scatter_reduce(0, task, number + 1, "amax")
            self.written.append((segment, after))


class ReplayLedger:
    """The records that a replay held at one moment: it can be saved until the replay has taken in more than it has to spare."""

    def __init__(self, replay: Replay, added: Int[Tensor, "task"]):
        self._replay, self._added = replay, added

    @property
    def most_bytes(self) -> int | None:
        """What one file of such records may have at most; None where no record is known."""
        return self._replay.most_bytes

    @property
    def home(self) -> Path | None:
        """Where the files lie that hold part of it."""
        return self._replay._journal.home

    def _alive(self, task: Tensor, number: Tensor) -> Tensor:
        """Which records were there: not dropped before, not added after."""
        return (number < self._added[task]) & (number >= self._added[task] - self._replay.capacity)

    def _table(self, task: Tensor, number: Tensor) -> Table:
        records = self._replay.at(task, number)
        return {"task": task, "number": number} | {f"record.{name}": value.cpu() for name, value in records.items()}

    def tables(self) -> Iterable[tuple[Segment | None, Table]]:
        """All of it as one table, by task and number."""
        rows = torch.arange(len(self._added)).repeat_interleave(self._added.clamp(max=self._replay.capacity))
        first = (self._added - self._replay.capacity).clamp(min=0)
        if len(rows):
            yield None, self._table(rows, first[rows] + rank_among_equals(rows))

    def segments(self, home: Path) -> list[Segment]:
        """The files in `home` that hold part of it."""
        journal, oldest = self._replay._journal, self._added - self._replay.capacity
        if journal.home != home:
            return []
        return [segment for segment, after in journal.written if bool(((after > oldest) & (after > 0)).any())]

    def unwritten(self, home: Path) -> Table:
        """What none of those files holds, as one table; empty where there is nothing."""
        journal = self._replay._journal
        if journal.home != home:
            return next((table for _, table in self.tables()), {})
        if not journal.unwritten:
            return {}
        task, number = (torch.cat(parts) for parts in zip(*journal.unwritten, strict=True))
        alive = self._alive(task, number)
        return self._table(task[alive], number[alive]) if bool(alive.any()) else {}

    def wrote(self, home: Path, segment: Segment, table: Table) -> None:
        """The table that was unwritten lies in a file now."""
        journal = self._replay._journal
        if journal.home != home:
            journal.home, journal.written = home, []
        journal.note(segment, table["task"], table["number"], len(self._added))
        later = [(task[new], number[new]) for task, number in journal.unwritten if (new := number >= self._added[task]).any()]
        journal.unwritten = later


def rank_among_equals(values: Int[Tensor, "value"]) -> Int[Tensor, "value"]:
    """How many equal values came before each."""
    ordered, order = values.sort(stable=True)
    rank = torch.arange(len(values)) - torch.searchsorted(ordered, ordered)
    return torch.empty_like(rank).scatter_(0, order, rank)
