"""Runs made by somebody who means harm, checksums and all: no code of theirs is run, nothing outside the run is written."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Share
from safetensors.torch import save

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.data.replay import Replay
from quickstudy.runs.checkpoint import sealed

Harm = Callable[[Path, Path], None]
"""Changes a run; the second path is a folder outside it, with files that must stay as they are."""


class Bomb:
    """What a hostile pickle would run."""

    def __init__(self, outside: Path):
        self.outside = outside

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.outside}/bomb-went-off",)


def newest(run: Path) -> Path:
    return run / "checkpoints" / "00000004"


def reseal(checkpoint: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Makes the manifest fit the files again, as an attacker would."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in manifest["files"]:
        content = (checkpoint / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(manifest)
    (checkpoint / "manifest.json").write_text(json.dumps(sealed(manifest)))


def replaced(name: str, content: Callable[[Path], bytes]) -> Harm:
    """Another content for a file of the newest checkpoint."""

    def harm(run: Path, outside: Path) -> None:
        (newest(run) / name).write_bytes(content(outside))
        reseal(newest(run))

    return harm


def header(text: bytes, length: int | None = None, data: bytes = b"\0" * 64) -> Callable[[Path], bytes]:
    """A safetensors file with a header of one's own, and what it says of its length."""
    return lambda outside: struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(entry: dict[str, Any], name: str = "learner/iteration") -> Callable[[Path], bytes]:
    return header(json.dumps({name: entry}).encode())


def state(change: Callable[[dict[str, Any]], Any]) -> Harm:
    """Another state.json."""

    def harm(run: Path, outside: Path) -> None:
        content = json.loads((newest(run) / "state.json").read_text())
        changed = change(content)
        (newest(run) / "state.json").write_text(json.dumps(content if changed is None else changed))
        reseal(newest(run))

    return harm


def pointer(content: Any) -> Harm:
    return lambda run, outside: (run / "latest.json").write_text(json.dumps(content).replace("OUTSIDE", str(outside))) and None


def configured(old: str, new: str) -> Harm:
    """Another line in config.toml."""

    def harm(run: Path, outside: Path) -> None:
        text = (run / "config.toml").read_text()
        assert old in text
        (run / "config.toml").write_text(text.replace(old, new.replace("OUTSIDE", str(outside)), 1))

    return harm


def linked(name: str, target: str) -> Harm:
    """A link to outside in place of a file or a folder of the run."""

    def harm(run: Path, outside: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.copytree(path, outside / target, dirs_exist_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(outside / target)

    return harm


def segmented(change: Callable[[dict[str, Any]], bytes | None], name: str = "00000004-0123456789abcdef.safetensors") -> Harm:
    """A replay whose segment, or the name of it, is the attacker's."""

    def harm(run: Path, outside: Path) -> None:
        replay = Replay(2, 50, 0)
        replay.extend(torch.arange(10) % 2, {"reward": torch.arange(10.0)})
        table = next(iter(replay.ledger().tables()))[1]
        content = change(table)
        content = save(table) if content is None else content
        (run / "replay").mkdir()
        if "/" not in name:
            (run / "replay" / name).write_bytes(content)
        segment = {"name": name.replace("OUTSIDE", str(outside)), "bytes": len(content)}
        segment["sha256"] = hashlib.sha256(content).hexdigest()
        reseal(newest(run), lambda manifest: manifest.update(segments={"learner/replay": [segment]}))

    return harm


def config_file(content: Callable[[Path], bytes]) -> Harm:
    return lambda run, outside: (run / "config.toml").write_bytes(content(outside)) and None


def pickled(outside: Path) -> bytes:
    return pickle.dumps(Bomb(outside))


def torch_file(outside: Path) -> bytes:
    torch.save({"weights": Bomb(outside)}, outside / "made.pt")
    content = (outside / "made.pt").read_bytes()
    (outside / "made.pt").unlink()
    return content


HARMS: dict[str, Harm] = {
    "pickle as tensors": replaced("state.safetensors", pickled),
    "pickle as values": replaced("state.json", pickled),
    "torch.save as tensors": replaced("state.safetensors", torch_file),
    "pickle as manifest": lambda run, outside: (newest(run) / "manifest.json").write_bytes(pickled(outside)) and None,
    "pickle as pointer": lambda run, outside: (run / "latest.json").write_bytes(pickled(outside)) and None,
    "pickle as configuration": config_file(pickled),
    "header of 2^60 bytes": replaced("state.safetensors", header(b"{}", 2**60)),
    "header longer than the file": replaced("state.safetensors", header(b"{}", 5000)),
    "header that is no JSON": replaced("state.safetensors", header(b"import os")),
    "header nested without end": replaced("state.safetensors", header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    "tensor beyond the file": replaced(
        "state.safetensors", tensor({"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]})
    ),
    "tensor of 2^62 numbers": replaced(
        "state.safetensors", tensor({"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 64]})
    ),
    "negative offsets": replaced("state.safetensors", tensor({"dtype": "F32", "shape": [16], "data_offsets": [-64, 0]})),
    "offsets backwards": replaced("state.safetensors", tensor({"dtype": "F32", "shape": [16], "data_offsets": [64, 0]})),
    "unknown dtype": replaced("state.safetensors", tensor({"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 64]})),
    "names that climb": replaced("state.safetensors", lambda outside: save({"../../evil": torch.zeros(2)})),
    "absolute names": replaced("state.safetensors", lambda outside: save({f"{outside}/evil": torch.zeros(2)})),
    "names of attributes": replaced("state.safetensors", lambda outside: save({"learner/__class__/__init__": torch.zeros(2)})),
    "empty tensors": replaced("state.safetensors", lambda outside: b""),
    "values nested without end": replaced("state.json", lambda outside: b"[" * 200_000),
    "values of 17 MB": replaced("state.json", lambda outside: b'{"a":"' + b"x" * 17 * 2**20 + b'"}'),
    "values that are a list": replaced("state.json", lambda outside: b"[1, 2]"),
    "values with an import string": state(lambda values: values["learner"].update(iteration="os:system")),
    "an iteration that is an object": state(lambda values: values.update(iteration={"__reduce__": "os.system"})),
    "metrics of 2^62 bytes": state(lambda values: values.update(metrics_bytes=2**62)),
    "metrics of less than none": state(lambda values: values.update(metrics_bytes=-5)),
    "no values": state(lambda values: {}),
    "keys that nobody knows": state(lambda values: values.update(__class__="Bomb")),
    "pointer that climbs": pointer({"checkpoint": "../../outside"}),
    "absolute pointer": pointer({"checkpoint": "OUTSIDE"}),
    "pointer that is a list": pointer(["00000004"]),
    "algorithm by import string": configured('name = "rl2"', 'name = "os:system"'),
    "algorithm by path": configured('name = "rl2"', 'name = "OUTSIDE/evil.py:Evil"'),
    "algorithm of the attacker's own": configured('name = "rl2"', 'own = "OUTSIDE/evil.py:Evil"'),
    "tasks by import string": configured('name = "bandit"', 'name = "quickstudy.cli:main"'),
    "tasks of the attacker's own": configured('name = "bandit"', 'own = "OUTSIDE/evil.py:tasks"'),
    "device by command": configured('device = "cpu"', 'device = "$(touch OUTSIDE/bomb-went-off)"'),
    "YAML with an object": config_file(
        lambda outside: f"!!python/object/apply:os.system ['touch {outside}/bomb-went-off']".encode()
    ),
    "metrics that are a link": linked("metrics.jsonl", "precious.txt"),
    "timing that is a link": linked("timing.jsonl", "precious.txt"),
    "checkpoints that are a link": linked("checkpoints", "elsewhere"),
    "TensorBoard's folder that is a link": linked("tensorboard", "elsewhere"),
    "replay that is a link": linked("replay", "elsewhere"),
    "seeds that climb": lambda run, outside: (run / "seeds.json").write_text('{"seeds": ["../../outside"]}') and None,
    "segment that is a pickle": segmented(lambda table: pickle.dumps({"a": 1})),
    "segment elsewhere": segmented(lambda table: None, "../../outside/precious.txt"),
    "segment with an absolute name": segmented(lambda table: None, "OUTSIDE/precious.txt"),
    "segment with tasks beyond": segmented(lambda table: table.update(task=table["task"] + 2**40)),
    "segment with tasks below none": segmented(lambda table: table.update(task=table["task"] - 5)),
    "segment with numbers below none": segmented(lambda table: table.update(number=table["number"] - 50)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("hostile") / "run"
    learner = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=16, hidden_size=8))
    qs.train(learner, 4, run, checkpoint_every=2, threads=1, evaluate_every=0, quiet=True)
    return run


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", HARMS)
def test_a_hostile_run_does_no_harm(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: Share
):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished, run)
    outside.mkdir()
    (outside / "precious.txt").write_text("precious\n" * 100)
    (outside / "evil.py").write_text(f"open({str(outside / 'bomb-went-off')!r}, 'w')\n")
    HARMS[name](run, outside)
    text = (run / "config.toml").read_bytes().replace(b"iterations = 4", b"iterations = 5")
    (run / "config.toml").write_bytes(text)
    before = listing(outside)
    for command in (["evaluate", str(run), "--num-tasks", "2"], ["resume", str(run)]):
        status = main(command)
        error = capsys.readouterr().err
        assert status in (0, 1, 2) and "Traceback" not in error
        if status:
            assert [line for line in error.splitlines() if line.startswith("error: ")], error
    assert listing(outside) == before
    share.says("hostile run", 1, "no code run, nothing written outside")
