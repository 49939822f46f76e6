"""A folder of seeds is whole or refused, and says of each seed whether it was trained as the folder says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy.runs.config import Training, config_of
from quickstudy.runs.seeds import create_seeds, holds_seeds, open_runs, read_seeds
from quickstudy.training import train_seeds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seeds, none of which has begun."""
    learner = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=16, hidden_size=8), seed=9)
    training = Training(iterations=1, seed=9, threads=1, evaluate_every=0)
    create_seeds(tmp_path / "seeds", config_of(learner, training), [9, 10], "quickstudy train ...")
    return tmp_path / "seeds"


def test_the_folder_is_whole_before_any_training(folder: Path):
    assert {path.name for path in folder.iterdir()} == {"command.txt", "config.toml", "seeds.json"}
    assert list(folder.parent.iterdir()) == [folder] and holds_seeds(folder)
    runs = read_seeds(folder)
    assert [run.folder.name for run in runs] == ["seed-9", "seed-10"]
    assert [run.config.training.seed for run in runs] == [9, 10] and not any(run.begun for run in runs)


def test_an_existing_folder_is_never_overwritten(folder: Path):
    config = read_seeds(folder)[0].config
    with pytest.raises(qs.UsageError, match="exists already"):
        create_seeds(folder, config, [1], "again")
    assert json.loads((folder / "seeds.json").read_text()) == {"seeds": [9, 10]}


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "3", "{}", '{"seeds": 3}', '{"seeds": []}', '{"seeds": [1, 1]}', '{"seeds": ["../x"]}', '{"seeds": [true]}'],
)
def test_a_damaged_list_is_refused_in_one_line(folder: Path, content: str):
    (folder / "seeds.json").write_text(content)
    with pytest.raises(qs.UsageError, match=r"seeds\.json is damaged") as refusal:
        read_seeds(folder)
    assert "\n" not in str(refusal.value)


def test_a_list_that_leaves_out_a_run_in_the_folder_is_refused(folder: Path):
    (folder / "seed-11").mkdir()
    with pytest.raises(qs.UsageError, match=r"seeds\.json doesn't name seed-11, which is in the folder"):
        read_seeds(folder)


def test_a_run_of_other_settings_is_not_pooled(folder: Path):
    train_seeds(folder, quiet=True)
    assert [run.config.training.seed for run in open_runs(folder, None)] == [9, 10]
    path = folder / "seed-10" / "config.toml"
    path.write_text(path.read_text().replace("gae_lambda = 0.95", "gae_lambda = 0.9"))
    with pytest.raises(qs.UsageError, match=r"seed-10/config\.toml is not .*seeds/config\.toml with seed 10"):
        open_runs(folder, None)


def test_loading_says_which_runs_there_are(folder: Path):
    with pytest.raises(qs.UsageError, match="name one of them: none has begun yet, quickstudy resume"):
        qs.load(folder)
    train_seeds(folder, quiet=True)
    for use in (qs.load, qs.resume):
        with pytest.raises(qs.UsageError, match=r"name one of them: .*/seed-9, .*/seed-10$"):
            use(folder)
    assert qs.load(folder / "seed-10").seed == 10
