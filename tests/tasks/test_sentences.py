"""A frozen encoder of texts: its vectors are those of model2vec, asked of the folder alone."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from levers import Levers

import quickstudy as qs
from quickstudy.protocol import counter
from quickstudy.tasks.sentences import Sentences

model2vec: Any = pytest.importorskip("model2vec", reason="needs the extra sentences")
tokenizers: Any = pytest.importorskip("tokenizers", reason="needs the extra sentences")

WORDS = ("[UNK]", "pull", "the", "left", "right", "lever")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of five words whose vectors are rows of the identity."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = tmp_path_factory.mktemp("encoder")
    model2vec.StaticModel(np.eye(6, dtype=np.float32), tokenizer).save_pretrained(made)
    return made


def test_a_text_is_the_mean_of_its_words_vectors_and_is_kept(folder: Path):
    encoder = Sentences(folder)
    found = encoder.encode("Pull the lever")
    np.testing.assert_allclose(found, np.array([0, 1, 1, 0, 0, 1]) / 3, atol=1e-6)
    assert encoder.encode("Pull the lever") is found and found.dtype == np.float32
    assert not found.flags.writeable


@pytest.mark.parametrize("workers", [0, 1])
def test_texts_are_vectors_in_environments_and_sessions(folder: Path, workers: int):
    tasks = qs.GymnasiumTasks(Levers, side=qs.Uniform(0.0, 1.0), max_episode_steps=5, sentences=str(folder), workers=workers)
    shown: Any = tasks.observation_space
    assert shown.parts["text"] == spaces.Box(-np.inf, np.inf, (6,), np.float32)
    env = tasks.make(1, 1)
    seen = shown.split(env.reset(tasks.sample(1, "train", counter(0, 0, "tasks")), counter(0, 0, "env")))
    env.close()
    given = Levers().reset(seed=0)[0]
    alone = shown.split(pickle.loads(pickle.dumps(tasks)).encode(given))
    torch.testing.assert_close(seen["text"][0, 0], torch.tensor([0, 1, 1, 1, 0, 1]) / 4)
    assert torch.equal(seen["text"][0, 0], alone["text"])


def test_what_is_no_encoder_is_refused_and_nothing_is_asked_of_a_hub(tmp_path: Path, folder: Path):
    for wrong in (tmp_path, Path("minishlab/potion-base-8M"), folder / "config.json"):
        with pytest.raises(qs.UsageError, match="holds no encoder in model2vec's format"):
            Sentences(wrong)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(qs.UsageError, match="holds no encoder"):
        Sentences(tmp_path)


def test_without_the_package_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(qs.UsageError, match=r"pip install 'quickstudy\[sentences\]'"):
        Sentences(folder)
