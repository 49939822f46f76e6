"""Malformed configurations: status 2, one line that says what is wrong, no traceback, no file changed."""

from __future__ import annotations

import random
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import Share

from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.families import FAMILIES
from quickstudy.runs.config import Training

NATIVE = [
    "bandit",
    "tabular-mdp",
    "grid-navigation",
    "key-door",
    "mission",
    "frozen-lake",
    "point-navigation",
    "cart-pole",
    "mountain-car",
    "mountain-car-continuous",
    "pendulum",
]

VALUES: dict[str, dict[str, list[Any]]] = {
    "rl2": {
        "trials": [0, -1, 2.5, "many", True, [], 3],
        "encoder": ["cnn", 0],
        "memory": ["rnn", 3, "", ["gru"]],
        "hidden_layers": [-1, "two", 0.5],
        "activation": ["sigmoid", 1],
        "layer_norm": ["yes", 1],
        "hidden_size": [0, -64, "64", 1.5],
        "learning_rate": ["fast", True, [1e-3], float("nan"), float("inf")],
        "gamma": [0, 1.5, -0.1, "0.9"],
        "gae_lambda": [-0.1, 1.1, "high"],
        "credit": ["life", 1, "Trial"],
        "n_epochs": [0, -4, "4"],
        "minibatches": [0, 1000, 2.0],
        "anneal_iterations": [-1, "all"],
        "shards": [0, 7, -1, "2"],
    },
    "maml": {
        "inner_steps": [0, -1, 1.5, "one"],
        "inner_ratio": ["paths", "", 1],
        "outer": ["adam", "TRPO", 0],
        "lanes": [0, -20, "20"],
        "meta_batch_size": [0, -1, "20"],
        "learn_inner_rate": ["yes", 1, 0],
        "shards": [0, 7],
    },
    "multi-task": {
        "n_envs": [0, -1, "64"],
        "gamma": [0, 2],
        "gae_lambda": [-1, 3],
        "n_epochs": [0],
        "shards": [0, 63],
    },
}
"""Values that an algorithm refuses, written by hand."""

TRAINING: dict[str, list[Any]] = {
    "iterations": [0, -5, "10", 1.5, True],
    "seed": ["zero", 1.5, [0]],
    "threads": [-1, "two"],
    "checkpoint_every": [0, -1, 2.5],
    "keep_checkpoints": [0, 1, "all"],
    "evaluate_every": [-1, "never"],
    "evaluate_tasks": [0, -3],
}
TASKS: dict[str, dict[str, list[Any]]] = {
    "bandit": {"arms": [0, 1, "three", 2.5], "pulls": [0, -1, True], "episodes_per_trial": [0, "x"]},
    "grid-navigation": {"size": [2, 0, "5"], "max_episode_steps": [0, -15]},
    "point-navigation": {"layout": ["circle", 3], "payoff": ["spares", ""], "max_episode_steps": [0]},
}
TEXTS = [
    "",
    "x",
    "[[[",
    "= 3",
    "[algorithm]",
    "[tasks]\nname = 'bandit'",
    "[algorithm]\nname = 'rl2'",
    "[algorithm]\nname = 'rl2'\nname = 'rl2'\n[tasks]\nname = 'bandit'",
    "[algorithm]\nname = ['rl2']\n[tasks]\nname = 'bandit'",
    "[[algorithm]]\nname = 'rl2'\n[tasks]\nname = 'bandit'",
    "[algorithm]\nname = ''\n[tasks]\nname = 'bandit'",
    "[algorithm]\nname = 'rl2'\n[tasks]\nname = ''",
    "algorithm = 'rl2'\ntasks = 'bandit'",
    "[algorithm]\nname = 'rl2'\n[tasks]\nname = 'bandit'\n[extra]\na = 1",
    "[algorithm]\nname = 'rl2'\n[tasks]\nname = 'bandit'\n[training]\niterations = 99999999999999999999999999.5e",
    "[algorithm]\nname = 'rl2'\ntrials = 2026-01-01\n[tasks]\nname = 'bandit'",
    "[algorithm]\nname = 'rl2'\ntrials = {a = 1}\n[tasks]\nname = 'bandit'",
    "\x00",
    "\ufeff[algorithm]",
    "name: rl2\ntasks: bandit",
    '{"algorithm": {"name": "rl2"}}',
]


def good(algorithm: str, family: str) -> dict[str, Any]:
    """A whole configuration with every key."""
    options, tasks = asdict(ALGORITHMS[algorithm].config()), asdict(FAMILIES[family].options())
    config = {"algorithm": {"name": algorithm, **options}, "tasks": {"name": family, **tasks}}
    config["training"] = asdict(Training(iterations=2, threads=1))
    return {section: {name: value for name, value in values.items() if value is not None} for section, values in config.items()}


def with_value(algorithm: str, family: str, section: str, key: str, value: Any) -> str:
    config = good(algorithm, family)
    config[section][key] = value
    return tomli_w.dumps(config)


def by_hand() -> list[str]:
    found = list(TEXTS)
    for name, keys in VALUES.items():
        found += [with_value(name, "bandit", "algorithm", key, value) for key, values in keys.items() for value in values]
    for family, keys in TASKS.items():
        found += [with_value("rl2", family, "tasks", key, value) for key, values in keys.items() for value in values]
    found += [with_value("rl2", "bandit", "training", key, value) for key, values in TRAINING.items() for value in values]
    return found


def generated(chance: random.Random) -> str:
    """A good configuration with one thing wrong in it, for any algorithm and family."""
    algorithm, family = chance.choice(sorted(ALGORITHMS)), chance.choice(NATIVE)
    config = good(algorithm, family)
    section = chance.choice(["algorithm", "tasks", "training"])
    key = chance.choice([key for key in config[section] if key != "name"])
    wrong = chance.choice(["key", "type", "section", "quote", "bracket", "name", "twice"])
    if wrong == "key":
        place = chance.randrange(len(key))
        config[section][key[:place] + chance.choice("xqz9") + key[place:]] = config[section].pop(key)
    elif wrong == "type":
        config[section][key] = chance.choice([[1], {"a": 1}, [[]], {"own": "evil.py:X"}])
    elif wrong == "section":
        config[section + chance.choice("sx_")] = config.pop(section)
    elif wrong == "name":
        named = chance.choice(["algorithm", "tasks"])
        config[named]["name"] = chance.choice([config[named]["name"] + "x", "../" + config[named]["name"], "os.system", ""])
    text = tomli_w.dumps(config)
    if wrong == "quote":
        text = text.replace('"', "", 1)
    elif wrong == "bracket":
        text = text.replace("]", "", 1)
    elif wrong == "twice":
        text += f"\n[{section}]\n"
    return text


def refused(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "config.toml"
    path.write_text(text)
    before = sorted(folder.rglob("*"))
    status, error = main(["train", "--config", str(path), "--run", str(folder / "run")]), capsys.readouterr().err
    assert status == 2, f"{text}\n{error}"
    assert error.startswith("error: ") and error.count("\n") == 1 and len(error) > 20, f"{text}\n{error}"
    assert sorted(folder.rglob("*")) == before


def test_malformed_configurations_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str], share: Share):
    texts = by_hand()
    assert len(texts) >= 100
    for text in texts:
        refused(text, tmp_path, capsys)
    share.says("malformed configurations, by hand", len(texts), "status 2, one line, nothing written")


def test_malformed_configurations_that_were_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str], share: Share):
    chance, count = random.Random(0), share.of(500, 60)
    for _ in range(count):
        refused(generated(chance), tmp_path, capsys)
    share.says("malformed configurations, generated", count, "status 2, one line, nothing written")


def test_every_option_is_checked_somewhere():
    """What is listed by hand names options that there are."""
    for name, keys in VALUES.items():
        assert keys.keys() <= {field.name for field in fields(ALGORITHMS[name].config)}
    for name, keys in TASKS.items():
        assert keys.keys() <= {field.name for field in fields(FAMILIES[name].options)}
