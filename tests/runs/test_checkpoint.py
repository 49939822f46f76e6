"""Checkpoints are whole or refused, and loading one runs no code."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.errors import QuickstudyError
from quickstudy.ops.state import leaves
from quickstudy.runs.checkpoint import DamagedCheckpoint, load_checkpoint, load_latest, prune, save_checkpoint, sealed

STATE: dict[str, Any] = {
    "iteration": 7,
    "weights": {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(3)},
    "empty": {},
    "nested": {"deeper": {"text": "x", "number": 0.1, "count": torch.tensor(3)}},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for number in (5, 10):
        save_checkpoint(tmp_path / "checkpoints", number, STATE | {"iteration": number})
    return tmp_path


def test_a_state_survives_its_files(run: Path):
    loaded = load_checkpoint(run / "checkpoints" / "00000010")
    expected, found = dict(leaves(STATE | {"iteration": 10})), dict(leaves(loaded))
    assert expected.keys() == found.keys() and loaded["empty"] == {}
    for path, value in expected.items():
        assert torch.equal(value, found[path]) if isinstance(value, torch.Tensor) else value == found[path]


def test_the_latest_is_found_and_old_ones_are_pruned(run: Path):
    state, complaints = load_latest(run)
    assert state["iteration"] == 10 and not complaints
    for number in (15, 20):
        save_checkpoint(run / "checkpoints", number, STATE | {"iteration": number})
    prune(run / "checkpoints", 2)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["00000015", "00000020"]
    assert load_latest(run)[0]["iteration"] == 20


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "empty"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(run: Path, file: str, damage: str):
    path = run / "checkpoints" / "00000010" / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: {"flip": len(content), "cut": len(content) // 2, "empty": 0}[damage]])
    state, complaints = load_latest(run)
    assert state["iteration"] == 5
    assert len(complaints) == 1 and "00000010" in complaints[0]


def test_random_flips_and_truncations_are_all_found(run: Path):
    """A quick share of the full counts: every single damage is refused."""
    folder, chance = run / "checkpoints" / "00000010", random.Random(0)
    for _ in range(60):
        path = folder / chance.choice(["state.safetensors", "state.json", "manifest.json"])
        whole = path.read_bytes()
        damaged = bytearray(whole)
        if chance.random() < 0.8:
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            damaged = damaged[: chance.randrange(len(whole))]
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint):
            load_checkpoint(folder)
        path.write_bytes(whole)
    load_checkpoint(folder)


def test_without_any_whole_checkpoint_the_message_names_all(run: Path):
    for folder in (run / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    with pytest.raises(QuickstudyError, match=r"no checkpoint that can be read; .*00000010.*; .*00000005"):
        load_latest(run)


def test_a_lost_pointer_is_no_loss(run: Path):
    (run / "latest.json").write_text("{")
    assert load_latest(run)[0]["iteration"] == 10
    (run / "latest.json").unlink()
    assert load_latest(run)[0]["iteration"] == 10


def test_leftovers_of_a_crash_are_removed_and_never_loaded(run: Path):
    leftover = run / "checkpoints" / ".00000015.99.tmp"
    shutil.copytree(run / "checkpoints" / "00000010", leftover)
    assert load_latest(run)[0]["iteration"] == 10
    save_checkpoint(run / "checkpoints", 15, STATE)
    assert not leftover.exists()


def test_saving_twice_replaces(run: Path):
    save_checkpoint(run / "checkpoints", 10, STATE | {"iteration": 11})
    assert load_latest(run)[0]["iteration"] == 11
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["00000005", "00000010"]


class Bomb:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("bomb-went-off").touch, ())


def test_a_renamed_pickle_is_refused_and_not_run(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run)
    folder = run / "checkpoints" / "00000010"
    import hashlib

    for file in ("state.safetensors", "state.json"):
        content = pickle.dumps(Bomb())
        (folder / file).write_bytes(content)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(folder)
    assert not (run / "bomb-went-off").exists()


def test_json_that_is_nested_without_end_is_refused(run: Path):
    (run / "checkpoints" / "00000010" / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(run / "checkpoints" / "00000010")
