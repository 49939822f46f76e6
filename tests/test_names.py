"""One word for each setting and metric: what earlier versions called otherwise is read, and no longer used."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.names import METRICS, SETTINGS, metrics_now, named_now
from quickstudy.runs.config import read_config

CURVES = json.loads((Path(__file__).with_name("curves.json")).read_text())


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_no_algorithm_has_a_setting_under_an_old_name(name: str):
    now, old = {field.name for field in fields(ALGORITHMS[name].config)}, set(SETTINGS.get(name, {}))
    assert not now & old and {SETTINGS[name][each] for each in old} <= now
    assert not now & {"target_rate", "replay_size", "replay_trials", "replay_on_disk", "cell"}


def test_no_metric_has_an_old_name():
    assert not {key for rows in CURVES.values() for row in rows for key in row} & set(METRICS)
    assert not set(METRICS) & set(METRICS.values())
    assert metrics_now({"train/kl": 2.0, "train/loss": 1.0}) == {"train/belief_kl": 2.0, "train/loss": 1.0}


def test_a_configuration_of_before_is_read_by_todays_names(tmp_path: Path):
    text = '[algorithm]\nname = "recurrent-sac"\ntarget_rate = 0.25\nreplay_size = 99\n[tasks]\nname = "bandit"\n'
    file = tmp_path / "config.toml"
    file.write_text(text)
    config = read_config(file)
    assert config.algorithm_options.tau == 0.25 and config.algorithm_options.buffer_trials == 99
    then = {"value": "shared", "initialisation": "orthogonal"}
    assert named_now("rl2", {"cell": "lstm", "trials": 3}) == {"memory": "lstm", "trials": 3} | then
    assert named_now("rl2", {"value": "separate"}, 3) == then | {"value": "separate"}
    assert not config.algorithm_options.shortcut and config.algorithm_options.initialisation == "orthogonal"
    # what is written today says so, and is held to today's names
    file.write_text(config.write())
    assert read_config(file) == config
    file.write_text(f"format = 3\n{text}")
    with pytest.raises(qs.UsageError, match="has no key 'target_rate'; it is called 'tau' now"):
        read_config(file)
    file.write_text(f"format = 5\n{text}")
    with pytest.raises(qs.UsageError, match="format 5; this version of quickstudy reads 2, 3 and 4"):
        read_config(file)


def test_who_types_an_old_name_is_told_the_new_one(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(qs.UsageError, match=r"RecurrentSAC\.Config has no option 'target_rate'; it is called 'tau' now"):
        qs.RecurrentSAC.Config(target_rate=0.1)  # pyright: ignore[reportCallIssue]
    assert main(["train", "recurrent-sac", "bandit", "--replay-size=9"]) == 2
    assert "has no option '--replay-size'; it is called '--buffer-trials' now" in capsys.readouterr().err
