"""Which runs a folder holds, told without what takes seconds to import."""

from __future__ import annotations

from pathlib import Path

from quickstudy.errors import UsageError


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs within a folder; UsageError where there is none."""
    runs = sorted(path.parent for path in folder.glob("*/config.toml"))
    if not runs:
        raise UsageError(f"{folder} is no library: it holds no folder of a run, none that has a config.toml")
    return runs
