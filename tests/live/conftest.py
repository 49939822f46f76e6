"""A run for all live pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from quickstudy.cli import main


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    small = ["--iterations", "1", "--trials", "4", "--hidden-size", "8", "--threads", "1", "--evaluate-every", "0"]
    assert main(["train", "rl2", "bandit", "--run", str(folder), *small]) == 0
    return folder
