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
from quickstudy.ops.state import Ledger, Segment, Table

Records = dict[str, Tensor]
"""Named tensors with the same leading axes."""


class Replay:
    """Records of a fixed set of training tasks; a task's number is its row.

    `spare` is how many records a row may get between two states that are saved: they wait there before they take the place of
    the oldest, so that the state before can still be saved. With `on_disk`, records lie in a memory-mapped file without a name
    in the folder for temporary files, and memory holds what is being read. With `prioritised`, records can be drawn by
    priority over all tasks, which is not part of the ledger: save `priorities.values` beside it.
    """

    def __init__(
        self,
        tasks: int,
        capacity: int,
        spare: int,
        *,
        on_disk: bool = False,
        prioritised: bool = False,
        device: str = "cpu",
    ):
        self.capacity, self.size, self.on_disk, self.device = capacity, capacity + spare, on_disk, device
        self.priorities = Priorities(tasks * self.size) if prioritised else None
        self.added = torch.zeros(tasks, dtype=torch.long)
        """How many records each task was ever given."""
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

        Time is the first axis of each field, and `valid` says which steps of a trial were lived, the first ones. A stretch is
        uniform over those that lie within the trial; of a shorter trial it is the whole, and `valid` ends where it did.
        """
        number = self.draw(tasks, count, generator, recent)
        place = self.place(tasks[:, None], number)
        lived = self.fields["valid"].index_select(0, place.flatten()).sum(-1).view(place.shape).cpu()
        share = torch.rand(place.shape, generator=generator, dtype=torch.float64)
        start = (share * (lived - steps + 1).clamp(min=1)).long()
        longest = self.fields["valid"].shape[1]
        step = (start[..., None] + torch.arange(steps)).clamp(max=longest - 1)
        at = (place[..., None] * longest + step.to(place.device)).flatten()
        shape = (*place.shape, steps)
        return {name: field.flatten(0, 1).index_select(0, at).unflatten(0, shape) for name, field in self.fields.items()}

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

    def load(self, ledger: Ledger) -> None:
        """Takes over what a ledger holds; ValueError where its records don't fit."""
        # a ledger of this replay itself reads what is cleared here
        tables = list(ledger.tables()) if isinstance(ledger, ReplayLedger) else ledger.tables()
        self.added, self.fields, self._journal = torch.zeros_like(self.added), {}, Journal()
        for segment, table in tables:
            task, number = table["task"], table["number"]
            records = {name.removeprefix("record."): value for name, value in table.items() if name.startswith("record.")}
            if task.min() < 0 or task.max() >= len(self.added) or number.min() < 0:
                raise ValueError(f"the replay holds records of tasks {task.min()} to {task.max()}, not of {len(self.added)}")
            self.added = self.added.scatter_reduce(0, task, number + 1, "amax")
            self._write(task, number, records)
            self._journal.note(segment, task, number, len(self.added))
        self._journal.home = ledger.home


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
