"""A frozen encoder of one's own that makes a vector of each text: static embeddings in the format of model2vec."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float
from safetensors.numpy import load

from quickstudy.errors import UsageError, shorten
from quickstudy.ops.spaces import is_text
from quickstudy.storage import parse_json, read_bytes

Space = gymnasium.Space[Any]
Env = gymnasium.Env[Any, Any]
CONFIG, VECTORS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
MOST_BYTES = 2**30
"""Of a file of an encoder."""
KEPT = 2**16
"""Different texts whose vectors are kept."""


def package() -> Any:
    """The model2vec package, with what reads its tokenizers; UsageError with the install command where it is missing."""
    try:
        import model2vec
        import tokenizers
    except ImportError as error:
        raise UsageError("sentences need model2vec; install it: pip install 'quickstudy[sentences]'") from error
    return model2vec.StaticModel, tokenizers.Tokenizer


class Sentences:
    """The encoder in a folder: numbers and a list of tokens, no code. The vector of a text is float32 (size,).

    UsageError for a folder without its three files, for files that hold no such encoder, or a missing extra. Nothing is ever
    asked of a hub. Another process reads the folder again.
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        make, tokenizer = package()
        try:
            # a hub's own folders are full of links, and whoever names this one knows where it leads
            parts = {name: read_bytes((self._folder / name).resolve(), MOST_BYTES) for name in (CONFIG, VECTORS, TOKENIZER)}
            config, tensors = parse_json(parts[CONFIG], self._folder / CONFIG), load(parts[VECTORS])
            self._model = make(
                vectors=tensors["embeddings"],
                tokenizer=tokenizer.from_str(parts[TOKENIZER].decode()),
                normalize=bool(config.get("normalize", False)),
                weights=tensors.get("weights"),
                token_mapping=tensors.get("mapping"),
            )
            self.size: int = self._model.dim
            self.encode = lru_cache(KEPT)(self._encoded)
            self.encode("a try")
        except Exception as error:  # whatever model2vec makes of somebody's files
            what = f"no {Path(error.filename).name}" if isinstance(error, FileNotFoundError) and error.filename else error
            raise UsageError(
                f"sentences: {self._folder} holds no encoder in model2vec's format ({shorten(str(what))}); it has {CONFIG},"
                f" {VECTORS} and {TOKENIZER}, as StaticModel.save_pretrained writes them"
            ) from error

    def __reduce__(self) -> Any:
        return Sentences, (self._folder,)

    def _encoded(self, text: str) -> Float[np.ndarray, "size"]:
        vector = np.array(self._model.encode(text), np.float32)
        vector.setflags(write=False)  # one array for all who ask
        return vector

    def space_of(self, space: Space) -> Space:
        """A space with vectors in place of texts."""
        if is_text(space):
            return spaces.Box(-np.inf, np.inf, (self.size,), np.float32)
        if isinstance(space, spaces.Dict):
            return spaces.Dict({name: self.space_of(part) for name, part in space.spaces.items()})
        if isinstance(space, spaces.Tuple):
            return spaces.Tuple([self.space_of(part) for part in space.spaces])
        return space

    def told(self, space: Space, observation: Any) -> Any:
        """An observation with vectors in place of texts; what isn't of the space stays as it is, for `encode` to refuse."""
        if is_text(space):
            return self.encode(observation) if isinstance(observation, str) else observation
        if isinstance(space, spaces.Dict) and isinstance(observation, dict):
            known = space.spaces
            return {name: self.told(known[name], part) if name in known else part for name, part in observation.items()}
        if isinstance(space, spaces.Tuple) and isinstance(observation, tuple) and len(observation) == len(space.spaces):
            return tuple(map(self.told, space.spaces, observation))
        return observation

    def around(self, env: Env) -> Env:
        """An environment that shows vectors in place of its texts."""
        return gymnasium.wrappers.TransformObservation(
            env, lambda observation: self.told(env.observation_space, observation), self.space_of(env.observation_space)
        )
