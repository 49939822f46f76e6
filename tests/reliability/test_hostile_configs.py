"""Configurations that are made to hang, to fill the memory, or to fall over what reads them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tomli_w
from alone import alone
from conftest import Share
from said import complaint
from test_configs import NATIVE, good

from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.runs.config import MOST_BYTES

HUGE = [
    *("1" * 5000, "1" * 60_000, "1" * 2_000_000, "0x" + "f" * 400, str(10**13), str(-(10**13))),
    *("1e400", "-1e400", "1e300", "nan", "inf"),
]
STRANGE = [
    *("x" * 2000, "x" * 60_000, "../" * 400, "ray://" + "a" * 2000 + ":1"),
    *("\\u001b[2J", "\\u202e", "\\n", "\\u0000"),
]
GREEDY = [
    ("algorithm", "trials", 10**7),
    ("algorithm", "hidden_size", 2**16),
    ("algorithm", "hidden_layers", 10**9),
    ("algorithm", "buffer_trials", 10**12),
    ("algorithm", "buffer_size", 10**12),
    ("algorithm", "meta_batch_size", 10**6),
    ("algorithm", "n_envs", 10**7),
    ("training", "threads", 100_000),
    ("training", "workers", 100_000),
    ("training", "evaluate_tasks", 10**12),
    ("tasks", "max_episode_steps", 10**12),
    ("tasks", "episodes_per_trial", 10**12),
    ("tasks", "pulls", 10**12),
    ("tasks", "arms", 10**9),
    ("tasks", "states", 10**9),
    ("tasks", "size", 10**9),
]
"""What a machine is asked for."""


def hostile(chance: random.Random) -> bytes:
    """A configuration that is made to hang, to fill the memory, or to fall over what reads it."""
    name, family = chance.choice(sorted(ALGORITHMS)), chance.choice(NATIVE)
    config = good(name, family)
    kind = chance.choice(["number", "text", "greedy", "deep", "dots", "names", "long", "bytes", "own"])
    if kind == "greedy":
        section, key, value = chance.choice([each for each in GREEDY if each[1] in config[each[0]]])
        config[section][key] = value
        config["tasks"]["episodes_per_trial"] = max(10_000, config["tasks"]["episodes_per_trial"])
        if key in ("trials", "meta_batch_size", "n_envs") and "num_train_tasks" in config["algorithm"]:
            config["algorithm"]["num_train_tasks"] = value
    section = chance.choice(["algorithm", "tasks", "training"])
    keys = [key for key, value in config[section].items() if isinstance(value, int | float) and value is not True]
    mark = 7_654_321
    if kind in ("number", "text", "deep", "long"):
        config[section][chance.choice([key for key in keys if config[section][key] is not False])] = mark
    text = tomli_w.dumps(config)
    if kind == "number":
        text = text.replace(str(mark), chance.choice(HUGE))
    elif kind == "text":
        text = text.replace(str(mark), '"' + chance.choice(STRANGE) + '"')
    elif kind == "deep":
        depth = chance.choice([10, 200, 900, 5000, 30_000])
        nested = ["[" * depth + "]" * depth, "{a=" * depth + "1" + "}" * depth, "[" * depth]
        text = text.replace(str(mark), chance.choice(nested))
    elif kind == "dots":
        parts = chance.choice([17, 1000, 30_000, 50_000])
        name = ".".join("a" * parts)
        text += chance.choice([f"[{name}]", f"{name} = 1", " . ".join(['"a"'] * parts) + "=1"])
    elif kind == "names":
        text += "".join(f"[x{number}]\n" for number in range(chance.choice([1, 5000])))
        text += f"{'k' * chance.choice([200, 60_000])} = 1"
    elif kind == "long":
        text = text.replace(str(mark), "[" + "1, " * chance.choice([100, 20_000, 3_000_000]) + "1]")
    elif kind == "bytes":
        return chance.randbytes(chance.choice([1, 1000, 60_000, 3_000_000])) + b"\xff"
    elif kind == "own":
        place = chance.choice(["algorithm", "tasks"])
        called = chance.choice(["evil.py:X", "x\x1b[2J", "x" * 5000])
        own = {"own": called, "table": [[0.5] * 2000] * 2, "deep": [[[[[[[[[[1]]]]]]]]]]}
        text = tomli_w.dumps(config | {place: own})
    return text.encode()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="sizes of processes are read from /proc")
def test_hostile_configurations(tmp_path: Path, share: Share):
    """None hangs, takes a gigabyte, prints a traceback or writes anything."""
    for name in ALGORITHMS:  # what is imported here needn't be in each process
        assert main(["train", name, "point-navigation", "--episodes-per-trial", "99999", "--max-episode-steps", "9999999"]) == 2
    chance, count, folder = random.Random(1), share.of(200, 40), tmp_path / "company"
    folder.mkdir()
    path = folder / "config.toml"
    for _ in range(count):
        content = hostile(chance)
        path.write_bytes(content)
        command = ["train", "--config", str(path), "--run", str(folder / "run")]
        status, said = alone(lambda command=command: main(command), tmp_path / "log")
        assert status == 2, (status, said[:2000], content[:300])
        line = complaint(said)
        assert line.startswith("error: ") and line.isprintable(), (said[-2000:], content[:1500])
        assert list(folder.iterdir()) == [path]
    share.says("hostile configurations", count, "status 2 within 5 s and 1 GB, one line, nothing written")


def test_what_is_no_small_file_is_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.toml"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    assert main(["train", "--config", str(path)]) == 2
    assert f"such a file has at most {MOST_BYTES}" in capsys.readouterr().err
