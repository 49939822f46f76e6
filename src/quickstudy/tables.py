"""Rows of figures for other programs: as lines of CSV, or as a data frame of pandas, which the extra `frame` installs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from quickstudy.errors import UsageError
from quickstudy.printed import printable

Rows = Sequence[Mapping[str, Any]]
"""Each has a value by column; a column that a row hasn't is empty there."""


def columns_of(rows: Rows) -> list[str]:
    """The columns of all rows, in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(rows: Rows) -> str:
    """A line with the columns' names, and one for each row: numbers with all their digits, nothing for None."""
    told = io.StringIO()
    writer = csv.writer(told, lineterminator="\n")
    columns = columns_of(rows)
    writer.writerow([printable(name) for name in columns])
    writer.writerows([[cell(row.get(name)) for name in columns] for row in rows])
    return told.getvalue()


def cell(value: Any) -> Any:
    """A value as a line of CSV holds it; text that would break the line is escaped."""
    return printable(value) if isinstance(value, str) else value


def as_frame(rows: Rows) -> Any:
    """A pandas.DataFrame with these rows; UsageError where pandas is missing."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise UsageError(
            "data frames need pandas; install it: pip install 'quickstudy[frame]', or write a file with --csv"
        ) from error
    return pandas.DataFrame([dict(row) for row in rows], columns=columns_of(rows))
