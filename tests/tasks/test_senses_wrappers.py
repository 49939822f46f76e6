"""Wrappers of tasks, and of learners, that see, hear and read: they show what they say, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.nets.reader import read
from quickstudy.ops.features import percept_vector
from quickstudy.ops.moments import moments_of
from quickstudy.ops.senses import Senses
from quickstudy.protocol import begin_trial, counter
from quickstudy.runs.config import Training, config_of, read_config
from quickstudy.tasks.shifted import shifted as moved_by
from quickstudy.work import InProcess
from quickstudy.wrappers.normalised import NormalisedTasks, normalised, numbers_of
from quickstudy.wrappers.reading import Reading

LOOK = spaces.Box(0, 255, (6, 6, 3), np.uint8)


class Lookout(gymnasium.Env[Any, Any]):
    """Everything shown is drawn at random, so that no two observations are alike; episodes end after two to four steps."""

    observation_space = spaces.Dict(
        image=LOOK,
        kind=spaces.Discrete(4),
        sound=spaces.Box(-1, 1, (64,)),
        text=spaces.Text(20, charset="abcdefgh "),
        vector=spaces.Box(-2, 2, (3,)),
    )
    action_space = spaces.Discrete(2)
    goal = 0.0

    def _shown(self) -> dict[str, Any]:
        random = self.np_random
        return {
            "image": random.integers(1, 256, (6, 6, 3)).astype(np.uint8),
            "kind": int(random.integers(1, 4)),
            "sound": random.uniform(0.1, 1, 64).astype(np.float32),
            "text": " ".join(random.choice(["a", "bad", "egg"], 3)),
            "vector": random.uniform(0.5, 2, 3).astype(np.float32),
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 5))
        return self._shown(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self._shown(), float(action == round(self.goal)), self.left == 0, False, {}


class Camera(Lookout):
    """The image alone."""

    observation_space = LOOK

    def _shown(self) -> Any:
        return super()._shown()["image"]


def make(env: Any = Lookout) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(env, goal=qs.Uniform(0, 1), max_episode_steps=5, episodes_per_trial=2)


def lived(tasks: Any, steps: int = 4, split: Any = "test") -> list[torch.Tensor]:
    """All that is shown in a trial on three tasks, two lanes each: where it begins, observation and arrival of each step."""
    env = tasks.make(3, 2)
    seen = [env.reset(tasks.sample(3, split, counter(0, 0, "tasks")), counter(0, 0, "env"))]
    for _ in range(steps):
        transition = env.step(torch.ones(3, 2, dtype=torch.long))
        seen += [transition.observation, transition.arrival]
    return [*seen, env.restart()]


def test_named_parts_are_zero_and_the_others_as_they_were():
    tasks = make()
    space = tasks.observation_space
    assert isinstance(space, Senses)
    without = qs.Without(tasks, "text", "image", "sound")
    assert without.observation_space is space
    for full, less in zip(lived(tasks), lived(without), strict=True):
        full, less = space.split(full), space.split(less)
        for name in space.parts:
            gone = name in ("text", "image", "sound")
            assert full[name].any() and torch.equal(less[name], torch.zeros_like(full[name]) if gone else full[name]), name
    raw = Lookout()
    seen = space.split(without.encode(raw.reset(seed=0)[0]))
    assert [name for name, part in seen.items() if not part.any()] == ["image", "sound", "text"]


def test_without_names_all_of_a_single_image_is_gone():
    tasks = make(Camera)
    assert all(part.any() for part in lived(tasks))
    assert all(part.dtype == torch.uint8 and not part.any() for part in lived(qs.Without(tasks)))


@pytest.mark.parametrize(
    ("env", "parts", "says"),
    [
        (Lookout, ("txt",), "did you mean 'text'"),
        (Lookout, (), "name at least one part of the observation: image, kind, sound, text, vector"),
        (Camera, ("image",), "has no parts; name none"),
    ],
)
def test_parts_that_are_not_there_are_refused(env: Any, parts: tuple[str, ...], says: str):
    with pytest.raises(qs.UsageError, match=says):
        qs.Without(make(env), *parts)


def test_informed_rows_tell_the_task_beside_the_other_parts():
    tasks, told = make(), qs.Informed(make())
    space, wide = tasks.observation_space, told.observation_space
    assert isinstance(space, Senses) and isinstance(wide, Senses) and sorted(wide.parts) == sorted([*space.parts, "task"])
    drawn = tasks.sample(3, "test", counter(0, 0, "tasks"))
    for plain, row in zip(lived(tasks), lived(told), strict=True):
        full, parts = space.split(plain), wide.split(row)
        assert torch.equal(parts.pop("task"), tasks.normalise(drawn)[:, None].expand(3, 2, 1))
        assert all(torch.equal(part, full[name]) for name, part in parts.items())
    raw, task = Lookout().reset(seed=1)[0], {name: value[:1] for name, value in drawn.items()}
    row = told.tell(raw, task)
    assert torch.equal(told.encode(row.numpy()), row)
    assert float(wide.split(row)["task"]) == float(tasks.normalise(task))


def test_informed_calls_a_single_image_by_its_name():
    tasks, told = make(Camera), qs.Informed(make(Camera))
    wide = told.observation_space
    assert isinstance(wide, Senses) and [*wide.parts] == ["image", "task"]
    assert all(torch.equal(wide.split(row)["image"], plain) for plain, row in zip(lived(tasks), lived(told), strict=True))


def means(parts: Any) -> torch.Tensor:
    """An encoder: the means of an image, or of the image among several parts."""
    image = parts["image"] if isinstance(parts, dict) else parts
    return image.float().mean((-3, -2))


@pytest.mark.parametrize("env", [Lookout, Camera])
def test_encoded_shows_what_the_encoder_makes_of_each_observation(env: Any):
    tasks, calls = make(env), []

    def counted(given: Any) -> torch.Tensor:
        found = means(given)
        calls.append(len(found))
        return found

    encoded = qs.Encoded(tasks, counted, 3)
    assert encoded.observation_space.shape == (3,)
    calls.clear()
    space = tasks.observation_space
    seen = [space.split(row)["image"] if isinstance(space, Senses) else row for row in lived(tasks)]
    for image, features in zip(seen, lived(encoded), strict=True):
        torch.testing.assert_close(features, means(image))
    # once for each observation, and once more for each place where an episode ended
    ends = sum(int((one != other).flatten(2).any(-1).sum()) for one, other in zip(seen[1:-1:2], seen[2:-1:2], strict=True))
    assert ends and sum(calls) == 6 * 6 + ends
    raw = env().reset(seed=0)[0]
    torch.testing.assert_close(
        encoded.encode(raw), means({"image": torch.as_tensor(raw["image"])} if env is Lookout else torch.as_tensor(raw))
    )


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (
            lambda image: means(image)[:, :2],
            r"of 2 observations the encoder makes torch.float32 \(2, 2\), not float32 \(2, 3\)",
        ),
        (lambda image: means(image).numpy(), "the encoder makes a ndarray"),
        (lambda image: image @ image, "the encoder raised"),
    ],
)
def test_wrong_encoders_are_refused_before_any_step(encoder: Any, says: str):
    with pytest.raises(qs.UsageError, match=says):
        qs.Encoded(make(Camera), encoder, 3)


def test_features_that_are_not_finite_are_named():
    env = qs.Encoded(make(Camera), lambda image: means(image) / 0, 3).make(1, 1)
    with pytest.raises(qs.NotFinite, match="features that are NaN or infinite"):
        env.reset(make(Camera).sample(1, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))


def test_an_encoder_is_a_copy_that_does_not_learn():
    linear = torch.nn.Linear(108, 3)
    encoder = torch.nn.Sequential(Floats(), torch.nn.Flatten(), linear, torch.nn.Dropout())
    encoded = qs.Encoded(make(Camera), encoder, 3)
    image = Camera().reset(seed=0)[0]
    before = encoded.encode(image)
    with torch.no_grad():
        linear.weight.zero_()
    assert torch.equal(encoded.encode(image), before) and not before.requires_grad and encoder.training


class Floats(torch.nn.Module):
    """Bytes as numbers."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float()


def padded(image: torch.Tensor, down: int, right: int, pixels: int = 4) -> torch.Tensor:
    """An image of rows, columns and channels, padded by its border and cropped."""
    planes = torch.nn.functional.pad(image.movedim(-1, 0)[None].float(), (pixels,) * 4, mode="replicate")[0].movedim(0, -1)
    return planes[pixels - down :, pixels - right :][: image.shape[0], : image.shape[1]].byte()


@pytest.mark.parametrize("env", [Lookout, Camera])
def test_images_of_a_training_task_are_shifted_alike_over_the_whole_trial(env: Any):
    tasks = make(env)
    shifted, space = qs.Shifted(tasks, 4), tasks.observation_space
    drawn = shifted.sample(3, "train", counter(0, 0, "tasks"))
    assert drawn["shift"].any(-1).all() and torch.equal(drawn["goal"], tasks.sample(3, "train", counter(0, 0, "tasks"))["goal"])
    for plain, moved in zip(lived(tasks, split="train"), lived(shifted, split="train"), strict=True):
        parts, others = (space.split(row) if isinstance(space, Senses) else {"image": row} for row in (plain, moved))
        for task, (down, right) in enumerate(drawn["shift"].tolist()):
            for lane in range(2):
                assert torch.equal(others["image"][task, lane], padded(parts["image"][task, lane], down, right))
        assert all(torch.equal(parts[name], others[name]) for name in parts if name != "image")
    many = shifted.sample(4000, "train", counter(0, 0, "many"))["shift"]
    assert sorted(many.unique().tolist()) == list(range(-4, 5)) and bool((many.double().mean(0).abs() < 0.15).all())


def test_other_splits_and_shifts_of_nothing_keep_their_bits():
    tasks = make(Camera)
    same = zip(lived(tasks), lived(qs.Shifted(tasks, 4)), strict=True)
    none = zip(lived(tasks, split="train"), lived(qs.Shifted(tasks, 0), split="train"), strict=True)
    assert all(torch.equal(one, other) for one, other in [*same, *none])


def test_images_with_their_channels_first_are_shifted_along_rows_and_columns():
    image = torch.arange(3 * 5 * 7, dtype=torch.uint8).view(1, 1, 3, 5, 7)
    moved = moved_by(image, (3, 5, 7), torch.tensor([[1, -2]]))
    assert torch.equal(moved[0, 0].movedim(0, -1), padded(image[0, 0].movedim(0, -1), 1, -2))


def test_what_can_not_be_shifted_is_refused():
    with pytest.raises(qs.UsageError, match="there is no image to shift"):
        qs.Shifted(qs.tasks.make("point-navigation"))
    with pytest.raises(qs.UsageError, match="less than the smallest image has, 6"):
        qs.Shifted(make(), 6)


def test_of_several_senses_the_vectors_alone_are_normalised():
    tasks = make()
    space = tasks.observation_space
    assert isinstance(space, Senses)
    seen = torch.stack([row.flatten(0, 1) for row in lived(tasks)]).flatten(0, 1)
    statistics = moments_of(numbers_of(space, seen))
    before, after = space.split(seen), space.split(normalised(space, seen, statistics))
    # the reader halves an entry between -2 and 2, and so it sees mean 0 and deviation 1
    read = after.pop("vector") / 2
    assert float(read.mean(0).abs().max()) < 1e-6 and torch.allclose(read.std(0, correction=0), torch.ones(3))
    assert all(torch.equal(part, before[name]) for name, part in after.items())
    session = NormalisedTasks(tasks, statistics).encode(Lookout().reset(seed=0)[0])
    assert session.dtype == torch.uint8 and session.shape == space.shape


def test_statistics_follow_the_vectors_in_training_and_are_kept():
    learner = qs.Normalised(small_rl2(make()), qs.Normalisation(normalise_observation=True))
    steps = learner.train_step(InProcess(learner.tasks))["rollout/timesteps"]
    seen = learner.statistics.observation
    assert seen is not None and seen.mean.shape == (3,) and float(seen.number) == steps + 4
    assert bool(((seen.mean > 1) & (seen.mean < 1.5)).all())
    again = qs.Normalised(small_rl2(make()), qs.Normalisation(normalise_observation=True))
    again.load_state_dict(learner.state_dict())
    assert again.statistics.observation is not None and torch.equal(again.statistics.observation.mean, seen.mean)


def test_nothing_of_a_lone_image_is_normalised():
    with pytest.raises(qs.UsageError, match="there is nothing to normalise"):
        qs.Normalised(small_rl2(make(Camera)), qs.Normalisation(normalise_observation=True))


def small_rl2(tasks: Any) -> qs.RL2:
    return qs.RL2(tasks, qs.RL2.Config(trials=2, hidden_size=8, n_epochs=1, minibatches=1), seed=0)


@pytest.mark.parametrize("env", [Lookout, Camera])
def test_a_learnt_reader_is_shared_as_it_is(env: Any):
    tasks = make(env)
    taught = small_rl2(tasks)
    reading = Reading(taught)
    encoded = qs.Encoded(tasks, reading, reading.size)
    raw = env().reset(seed=0)[0]
    percept = begin_trial(tasks.encode(raw)[None, None], tasks.action_space)
    row = percept_vector(percept, tasks.observation_space, tasks.action_space)
    expected = read(taught.net, taught.weights, row)[0, 0, : reading.size]
    torch.testing.assert_close(encoded.encode(raw), expected)
    with pytest.raises(qs.UsageError, match="rl2 has no reader"):
        Reading(small_rl2(encoded))


def test_a_shift_is_an_option_of_a_run(tmp_path: Path):
    config = config_of(small_rl2(qs.Shifted(make(Camera), 2)), Training(), "mine.py:tasks")
    (tmp_path / "config.toml").write_text(config.write())
    stored = read_config(tmp_path / "config.toml")
    assert stored == config and stored.training.shift == 2
    for own in (make(Camera), qs.Shifted(make(Camera), 2)):
        tasks = stored.build_learner(own).tasks
        assert isinstance(tasks, qs.Shifted) and tasks.pixels == 2 and isinstance(tasks.tasks, qs.GymnasiumTasks)
    with pytest.raises(qs.UsageError, match="shifted already"):
        replace(stored, training=Training(shift=3)).build_learner(qs.Shifted(make(Camera), 2))
    with pytest.raises(qs.UsageError, match="shift is the tasks'"):
        qs.train(small_rl2(make(Camera)), 1, shift=2)
