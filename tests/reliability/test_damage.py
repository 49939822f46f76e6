"""Files that were altered or cut: every damage is found and named, and the checkpoint before is used."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Share

import quickstudy as qs
from quickstudy.check.learner import differing
from quickstudy.data.replay import Replay
from quickstudy.runs.checkpoint import load_checkpoint, load_latest, save_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two checkpoints of a learner and of a replay, the second with a segment of its own."""
    learner, replay = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(hidden_size=8)), Replay(2, 50, 0)
    for number in (1, 2):
        replay.extend(torch.arange(40) % 2, {"reward": torch.arange(40.0), "valid": torch.ones(40, 3, dtype=torch.bool)})
        state = {"iteration": number, "learner": {**learner.state_dict(), "replay": replay.ledger()}}
        save_checkpoint(tmp_path / "checkpoints", number, state)
    return tmp_path


def newest(run: Path) -> list[Path]:
    """The files that the second checkpoint alone needs."""
    return [*(run / "checkpoints" / "00000002").iterdir(), *(run / "replay").glob("00000002-*")]


def content(state: dict[str, Any]) -> dict[str, Any]:
    replay = Replay(2, 50, 0)
    replay.load(state["learner"]["replay"])
    return {**state, "learner": {**state["learner"], "replay": replay.ledger()}}


@pytest.mark.parametrize("damage", ["flip a bit", "cut"])
def test_every_damage_is_found_and_the_checkpoint_before_is_used(damage: str, run: Path, share: Share):
    before = content(load_checkpoint(run / "checkpoints" / "00000001"))
    chance, files = random.Random(damage), newest(run)
    assert len(files) == 4
    times = share.of(1000, 50) if damage == "flip a bit" else share.of(200, 20)
    for _ in range(times):
        path = chance.choice(files)
        whole = path.read_bytes()
        if damage == "cut":
            path.write_bytes(whole[: chance.randrange(len(whole))])
        else:
            altered = bytearray(whole)
            altered[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(altered)
        state, complaints = load_latest(run)
        assert len(complaints) == 1 and state["iteration"] == 1
        assert not differing(content(state), before)
        path.write_bytes(whole)
    assert load_latest(run)[0]["iteration"] == 2
    share.says(damage, times, "all found and named; the checkpoint before is loaded")
