"""The reader: each sense against PyTorch's own layers, against one row at a time, and against what it must not know."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.nets import senses as module
from quickstudy.nets.networks import Weights, initial_weights, multilayer, skeleton
from quickstudy.nets.reader import Reader, behind, inputs_for, read, reader_of
from quickstudy.nets.senses import Choices, Convolution, Image, Impala, Nature, Sound, Text, Vector
from quickstudy.ops.senses import Senses, Words, as_row

GRID, EYEFUL = spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Box(0, 255, (36, 36, 3), np.uint8)
PLANES, FLOATS = spaces.Box(0, 1, (4, 5, 5), np.uint8), spaces.Box(-1, 3, (3, 8, 8), np.float32)
SOUND, VECTOR = spaces.Box(-0.5, 0.5, (90,), np.float32), spaces.Box(-2, 2, (3,), np.float32)
SEVERAL = Senses(
    {"image": GRID, "text": Words(6), "sound": SOUND, "vector": VECTOR, "kind": spaces.Discrete(4)}
    | {"kinds": spaces.MultiDiscrete([2, 3])}
)
SPACES = {
    "grid": GRID,
    "eyeful": EYEFUL,
    "planes": PLANES,
    "floats": FLOATS,
    "frames": spaces.Box(0, 255, (2, 36, 36, 3), np.uint8),
    "grey": spaces.Box(0, 255, (36, 40), np.uint8),
    "sound": SOUND,
    "text": Words(6, ("go", "to", "red")),
    "several": SEVERAL,
}


def options(**told: Any) -> Any:
    """What a configuration says of senses."""
    known = {"vision": "auto", "language": "gru", "film": False, "hidden_size": 16, "activation": "relu"}
    return SimpleNamespace(**known | told)


def seen(space: spaces.Space, rows: int) -> Tensor:
    """Random observations."""
    if isinstance(space, Senses):
        return space.join({name: seen(part, rows) for name, part in space.parts.items()})
    shape = (rows, *(space.shape or ()))
    if isinstance(space, Words):
        words = torch.randint(1, space.numbers, shape, dtype=torch.int16)
        return words * (torch.arange(shape[1]) < torch.randint(0, shape[1] + 1, (rows, 1)))
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8:
            return torch.randint(0, int(space.high.max()) + 1, shape, dtype=torch.uint8)
        low, high = float(space.low.min()), float(space.high.max())
        return low + (high - low) * torch.rand(shape)
    return torch.randint(0, 2, shape)


def made(layer: Any, *given: Any, **told: Any) -> tuple[Any, Weights]:
    """A layer and its first weights."""
    net = skeleton(lambda: layer(*given, **told))
    return net, initial_weights(net, torch.Generator().manual_seed(0), {}, "cpu")


def read_by(space: spaces.Space, numbers: int = 0, looks: int = 1, **told: Any) -> tuple[Reader, Weights]:
    reader = inputs_for(space, numbers, options(**told), looks).reader
    assert reader is not None
    return reader, initial_weights(reader, torch.Generator().manual_seed(0), {}, "cpu")


@pytest.mark.parametrize("name", SPACES)
def test_a_stack_is_read_as_its_rows_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PIECE", 5_000)  # several pieces
    space, numbers = SPACES[name], torch.randn(2, 3, 2)
    reader, weights = read_by(space, 2)
    rows = as_row(space, (seen(space, 6).unflatten(0, (2, 3)),), numbers)
    features = functional_call(reader, weights, (rows,))
    assert features.shape == (2, 3, reader.size) and reader.size == reader.features + 2
    assert torch.equal(features[..., -2:], numbers)
    for task in range(2):
        for lane in range(3):
            torch.testing.assert_close(functional_call(reader, weights, (rows[task, lane],)), features[task, lane])
    assert functional_call(reader, weights, (rows[:0],)).shape == (0, 3, reader.size)


@pytest.mark.parametrize("name", SPACES)
def test_first_features_have_a_healthy_scale_and_gradients_reach_every_weight(name: str):
    reader, weights = read_by(SPACES[name], film=True, activation="tanh", hidden_size=64)
    features = functional_call(reader, weights, (as_row(SPACES[name], (seen(SPACES[name], 64),)),))
    for part in features.split(64, dim=-1):
        assert 0.3 < part.std() < 3
        # rows differ, and not only by a little
        assert part.std(0).mean() > 0.1
    (features * torch.randn(features.shape)).sum().backward()
    for weight_name, weight in weights.items():
        assert weight.grad is not None and bool(weight.grad.abs().sum() > 0), weight_name


@pytest.mark.parametrize("film", [False, True])
def test_nothing_is_made_on_another_device(film: bool):
    """Tensors without numbers mix with no others, as those on a GPU don't."""
    low = np.zeros((3, 8, 8), np.float32)
    low[0] = -1
    uneven = spaces.Box(low, np.ones((3, 8, 8), np.float32))
    parts = {name: part for name, part in SEVERAL.parts.items() if name != "text"} | {"uneven": uneven, "eyeful": EYEFUL}
    for space in (Senses(parts), PLANES, FLOATS, SOUND):
        reader, weights = read_by(space, 2, film=film)
        elsewhere = {name: weight.to("meta") for name, weight in weights.items()}
        rows = as_row(space, (seen(space, 3),), torch.zeros(3, 2)).to("meta")
        assert functional_call(reader, elsewhere, (rows,)).shape == (3, reader.size)


def test_floats_were_read_before():
    reader, weights = read_by(SEVERAL, 2)
    features = torch.randn(3, reader.size)
    assert functional_call(reader, weights, (features,)) is features


def test_the_order_of_keys_does_not_matter():
    turned = Senses(dict(reversed(SEVERAL.parts.items())))
    (one, weights), (other, others) = read_by(SEVERAL), read_by(turned)
    rows = seen(SEVERAL, 5)
    assert weights.keys() == others.keys()
    assert torch.equal(functional_call(one, weights, (rows,)), functional_call(other, others, (rows,)))


def test_names_of_weights_are_those_of_stored_runs():
    reader, _ = read_by(Senses({"image": GRID, "text": Words(6), "vector": VECTOR, "kind": spaces.Discrete(4)}), film=True)
    image = ["table.weight", *(f"eye.{layer}.{part}" for layer in ("first", "second") for part in ("weight", "bias"))]
    image += [f"{layer}.{part}" for layer in ("film", "out") for part in ("weight", "bias")]
    text = ["words.weight", *(f"recurrent.{part}" for part in ("from_input", "from_hidden", "input_bias", "hidden_bias"))]
    parts = [f"parts.0.{name}" for name in image] + ["parts.1.table.weight"] + [f"parts.2.{name}" for name in text]
    parts += ["parts.3.out.weight", "parts.3.out.bias"]
    norms = [f"norms.{number}.{part}" for number in range(4) for part in ("weight", "bias")]
    assert [name for name, _ in reader.named_parameters()] == parts + norms


def test_a_choice_is_one_hot_times_the_table():
    net, weights = made(Choices, spaces.Discrete(5), options())
    chosen = torch.tensor([3, 0, 4])
    expected = functional.one_hot(chosen, 5).float() @ weights["table.weight"]
    assert torch.equal(functional_call(net, weights, (chosen,)), expected)
    net, weights = made(Choices, spaces.MultiDiscrete([2, 3]), options())
    several = torch.tensor([[1, 0], [0, 2]])
    one_hot = torch.cat([functional.one_hot(several[:, 0], 2), functional.one_hot(several[:, 1], 3)], dim=-1).float()
    assert torch.equal(functional_call(net, weights, (several,)), one_hot @ weights["table.weight"])


def test_how_large_a_vector_is_gets_through_the_norm():
    """The norm of what is linear in a single number is its sign."""
    space = Senses({"image": PLANES, "vector": spaces.Box(-1, 1, (1,), np.float32)})
    reader, weights = read_by(space, activation="tanh")
    values = {"image": torch.zeros(3, 4, 5, 5), "vector": torch.tensor([[0.2], [0.4], [0.8]])}
    features = functional_call(reader, weights, (space.join(values),))[:, 16:]
    assert torch.pdist(features).min() > 0.1


def test_a_vector_is_scaled_by_each_entrys_bounds():
    box = spaces.Box(np.array([0, -np.inf, -2], np.float32), np.array([4, np.inf, 2], np.float32))
    net, weights = made(Vector, box, options())
    expected = torch.tensor([[0.5, 7.0, -1.0, 1.0]]) @ weights["out.weight"].T
    torch.testing.assert_close(functional_call(net, weights, (torch.tensor([[3.0, 7.0, -2.0]]),)), expected)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [((2, 2), 1, 1), ((8, 8), 4, 0), ((6,), 2, 0)])
def test_a_convolution_is_torchs(kernel: tuple[int, ...], stride: int, padding: int):
    net, weights = made(Convolution, 3, 5, kernel, stride, padding)
    with torch.no_grad():
        weights["bias"].uniform_(-1, 1)
    layer: Any = nn.Conv2d if len(kernel) == 2 else nn.Conv1d
    theirs = layer(3, 5, kernel, stride, padding)
    theirs.load_state_dict({"weight": weights["weight"].detach().reshape(5, 3, *kernel), "bias": weights["bias"].detach()})
    planes = torch.randn(4, 3, *(20 for _ in kernel))
    torch.testing.assert_close(functional_call(net, weights, (planes,)), theirs(planes))


@pytest.mark.parametrize(
    ("eye", "shape", "gives"),
    [
        (Nature, (4, 84, 84), (64, 7, 7)),  # Mnih et al. 2015: 3,136 numbers
        (Nature, (3, 36, 36), (64, 1, 1)),
        (Nature, (3, 40, 64), (64, 1, 4)),
        (Impala, (3, 64, 64), (32, 8, 8)),  # Espeholt et al. 2018, figure 3: a half in each of three blocks
        (Impala, (3, 7, 9), (32, 1, 2)),
        (module.Grid, (20, 7, 9), (32, 5, 7)),
    ],
)
def test_eyes_give_what_their_papers_say(eye: Any, shape: tuple[int, int, int], gives: tuple[int, int, int]):
    net, weights = made(eye, shape[0])
    assert functional_call(net, weights, (torch.rand(2, *shape),)).shape == (2, *gives)
    assert net.shape(*shape[1:]) == gives


def test_an_eye_for_large_images_refuses_small_ones():
    with pytest.raises(UsageError, match="nature reads images of at least 36 pixels, these have 7 x 7; set vision to grid"):
        read_by(GRID, vision="nature")
    with pytest.raises(UsageError, match="images of 2 x 2 are too small to be read"):
        read_by(spaces.Box(0, 1, (2, 2, 3), np.uint8))
    assert isinstance(read_by(GRID, vision="impala")[0].parts[0].eye, Impala)


@pytest.mark.parametrize(
    ("space", "codes"),
    [
        (GRID, 256),  # MiniGrid's own bounds
        (spaces.Box(0, 10, (7, 7, 3), np.uint8), 11),
        (spaces.Box(0, 10, (19, 19, 3), np.uint8), 11),
        (spaces.Box(0, 255, (19, 19, 3), np.uint8), 0),
        (EYEFUL, 0),
        (PLANES, 0),
        (FLOATS, 0),
    ],
)
def test_codes_and_shades(space: spaces.Box, codes: int):
    assert made(Image, space, options())[0].codes == codes


def test_images_are_scaled_by_their_bounds():
    def scaled(low: Any, high: Any, value: float, dtype: Any = np.float32) -> list[float]:
        low, high = (np.broadcast_to(np.array(bound, dtype), (12, 12, 2)) for bound in (low, high))
        space = spaces.Box(low, high, dtype=dtype)
        planes = torch.full((1, 2, 12, 12), value).to(torch.uint8 if dtype == np.uint8 else torch.float32)
        return module.shades(space, planes)[0, :, 3, 4].tolist()

    assert scaled(0, 255, 51, np.uint8) == pytest.approx([0.2, 0.2])
    assert scaled(-1, 3, 0) == pytest.approx([0.25, 0.25])
    assert scaled(-np.inf, np.inf, 7) == [7, 7]
    assert scaled([0, -1], [10, np.inf], 5) == pytest.approx([0.5, 5])
    assert scaled([0, -1], [10, 3], 1) == pytest.approx([0.1, 0.5])


def words_of(space: Words, *texts: str) -> Tensor:
    return torch.stack([torch.from_numpy(space.encode(text)) for text in texts])


def test_a_text_is_torchs_gru_over_the_words_it_has():
    space = Words(6)
    net, weights = made(Text, space, options())
    theirs = nn.GRU(32, 16)
    for ours, name in (("from_input", "weight_ih_l0"), ("from_hidden", "weight_hh_l0"), ("input_bias", "bias_ih_l0")):
        getattr(theirs, name).data = weights[f"recurrent.{ours}"].detach().reshape(getattr(theirs, name).shape)
    nn.init.zeros_(theirs.get_parameter("bias_hh_l0"))
    texts = words_of(space, "go to the red ball", "stop", "", "go to the red ball", "a b c d e f")
    found = functional_call(net, weights, (texts,))
    for text, features in zip(texts, found, strict=True):
        words = weights["words.weight"][text[text > 0].long()]
        expected = theirs(words[:, None])[1][0, 0] if len(words) else torch.zeros(16)
        torch.testing.assert_close(features, expected)
    # whatever padding follows
    torch.testing.assert_close(functional_call(net, weights, (functional.pad(texts, (0, 5)),)), found)


def test_the_mean_of_a_texts_words():
    space = Words(4)
    net, weights = made(Text, space, options(language="mean"))
    texts = words_of(space, "go there now", "")
    expected = weights["words.weight"][texts[0, :3].long()].mean(0) @ weights["out.weight"].T
    torch.testing.assert_close(functional_call(net, weights, (texts,)), torch.stack([expected, torch.zeros(16)]))


def test_text_changes_how_an_image_is_read_where_it_is_told():
    space = Senses({"image": PLANES, "text": Words(4)})
    reader, weights = read_by(space, film=True)
    images = seen(PLANES, 1).expand(2, -1, -1, -1)
    rows = space.join({"image": images, "text": words_of(Words(4), "go left", "go right")})
    one, other = functional_call(reader, weights, (rows,))[:, :16]
    assert (one - other).abs().max() > 0.01
    # scaled by 1 and shifted by 0, images are what they are without
    still = {name: torch.zeros_like(weight) if ".film." in name else weight for name, weight in weights.items()}
    plain, _ = read_by(space)
    same = {name: weight for name, weight in weights.items() if ".film." not in name}
    assert torch.equal(functional_call(reader, still, (rows,)), functional_call(plain, same, (rows,)))
    one, other = functional_call(plain, same, (rows,))[:, :16]
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["grid", "several"])
def test_a_second_look_is_a_look(name: str):
    space = SPACES[name]
    reader, weights = read_by(space, 1, looks=2)
    first, second = seen(space, 6), seen(space, 6)
    second[:3] = first[:3]
    features = functional_call(reader, weights, (as_row(space, (first, second), torch.zeros(6, 1)),))
    once, looked = read_by(space, 1)[0], reader.features
    for rows, found in ((first, features[:, :looked]), (second, features[:, looked + 1 :])):
        expected = functional_call(once, weights, (as_row(space, (rows,), torch.zeros(6, 1)),))[:, :looked]
        torch.testing.assert_close(found, expected)


def test_a_stretch_of_a_sound_hears_nothing_of_the_others():
    """The last samples move the last stretch, and the first ones the first, alone."""
    space = spaces.Box(-1, 1, (1000,), np.float32)
    net, weights = made(Sound, space, options())
    # the last layer tells which stretches there are: plane by plane, eight of each
    weights = {name: weight.detach() for name, weight in weights.items()}
    sound = torch.randn(1, 1000).clamp(-1, 1)
    for samples, stretch in ((slice(0, 16), 0), (slice(-60, None), 7)):
        changed = sound.clone()
        changed[:, samples] = 0
        for other in range(8):
            told = torch.zeros(16, 32, 8)
            told[:, :, other] = torch.randn(16, 32)
            only = weights | {"out.weight": told.flatten(1)}
            one, two = (functional_call(net, only, (each,)) for each in (sound, changed))
            assert torch.equal(one, two) == (other != stretch)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own, in jvp
@pytest.mark.parametrize("name", ["grid", "planes", "sound", "text", "several"])
def test_maps_over_tasks_and_derivatives_agree_with_loops(name: str):
    """Each task with weights of its own, as MAML has them, and observations of its own."""
    space = SPACES[name]
    reader, weights = read_by(space, 1, looks=2, film=True, activation="tanh")
    weights = {key: weight.detach() for key, weight in weights.items()}
    own = {key: torch.stack([weight, weight + 0.1 * torch.randn(weight.shape)]) for key, weight in weights.items()}
    rows = as_row(space, (seen(space, 6).unflatten(0, (2, 3)), seen(space, 6).unflatten(0, (2, 3))), torch.randn(2, 3, 1))

    def loss(weights: Weights, rows: Tensor) -> Tensor:
        return functional_call(reader, weights, (rows,)).square().sum()

    found, slopes = vmap(loss)(own, rows), vmap(grad(loss))(own, rows)
    for task in range(2):
        alone = {key: weight[task].clone().requires_grad_() for key, weight in own.items()}
        value = loss(alone, rows[task])
        torch.testing.assert_close(found[task], value.detach())
        for key, slope in zip(alone, torch.autograd.grad(value, list(alone.values())), strict=True):
            torch.testing.assert_close(slopes[key][task], slope, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(vmap(loss, in_dims=(None, 0))(weights, rows)[1], loss(weights, rows[1]))
    towards = {key: torch.randn(weight.shape) for key, weight in weights.items()}
    rise = jvp(lambda weights: loss(weights, rows), (weights,), (towards,))[1]
    slopes = grad(loss)(weights, rows)
    expected = torch.stack([(slopes[key] * towards[key]).sum() for key in weights]).sum()
    torch.testing.assert_close(rise, expected, rtol=1e-3, atol=1e-3)


class Heads(nn.Module):
    """A net whose modules have names."""

    def __init__(self, inputs: int):
        super().__init__()
        self.policy, self.value = nn.Linear(inputs, 2), nn.Linear(inputs, 1)

    def forward(self, inputs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return scale * self.policy(inputs), scale * self.value(inputs)


def test_a_reader_stands_before_a_network():
    inputs = inputs_for(PLANES, 2, options())
    rows = as_row(PLANES, (seen(PLANES, 3),), torch.randn(3, 2))
    for net, more in (
        (skeleton(lambda: multilayer(inputs.size, 8, 1, 2)), ()),
        (skeleton(lambda: Heads(inputs.size)), (torch.tensor(2.0),)),
    ):
        kept = [name for name, _ in net.named_parameters()]
        whole: nn.Module = behind(inputs.reader, net)
        weights = initial_weights(whole, torch.Generator().manual_seed(0), {}, "cpu")
        assert reader_of(whole) is inputs.reader and set(kept) < set(weights)
        assert all(name in kept or name.startswith("reader.") for name in weights)
        given = functional_call(whole, weights, (rows, *more))
        features = read(whole, weights, rows)
        torch.testing.assert_close(functional_call(whole, weights, (features, *more)), given)
        assert read(whole, weights, features) is features
        moved = weights | {name: weight + 0.1 for name, weight in weights.items() if name == "reader.parts.0.eye.first.bias"}
        assert not torch.equal(read(whole, moved, rows), features)
        changed = functional_call(whole, moved, (rows, *more))
        assert not torch.equal(changed[0], given[0])


def test_vectors_have_no_reader():
    assert inputs_for(VECTOR, 2, options(), looks=2) == (8, None)
    net = multilayer(8, 4, 1, 2)
    assert behind(None, net) is net and reader_of(net) is None
