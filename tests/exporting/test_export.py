"""What is refused, what a file tells, what a stranger's file comes to, and how actions are drawn outside the graph."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy import runtime
from quickstudy.cli import main
from quickstudy.exporting.rules import distribution_rule, rule_of
from quickstudy.exporting.tracing import discounted_sum, inverse_times, running_maximum
from quickstudy.nets import soft
from quickstudy.nets.distributions import Categorical, DiagonalGaussian, MultiCategorical
from quickstudy.ops import returns
from quickstudy.ops.spaces import decode, encode
from quickstudy.runtime.contents import contents_of, first_as_json, first_of, require_sealed, sealed
from quickstudy.runtime.draws import draws_of
from quickstudy.runtime.spaces import space_of

TINY = qs.RL2.Config(trials=8, hidden_size=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained RL2, as a file."""
    pytest.importorskip("onnxscript", reason="needs quickstudy[export]")
    pytest.importorskip("onnxruntime", reason="needs quickstudy[export]")
    path = tmp_path_factory.mktemp("exported") / "agent.onnx"
    qs.export(qs.RL2(qs.tasks.make("grid-navigation"), TINY), path, licence="CC0-1.0", run={"iteration": 3})
    return path


def test_packages_that_are_missing_are_named_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    agent = qs.RL2(qs.tasks.make("bandit"), TINY)
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(qs.UsageError, match=r"pip install 'quickstudy\[export\]'"):
        qs.export(agent, tmp_path / "a.onnx")
    with pytest.raises(qs.UsageError, match=r"pip install 'quickstudy\[runtime\]'"):
        runtime.load(tmp_path / "a.onnx")


def test_what_cannot_be_exported_is_refused_in_a_line(exported: Path, tmp_path: Path):
    tasks = qs.tasks.make("bandit", arms=3)
    elsewhere = qs.RL2(tasks, TINY)
    elsewhere.device = "cuda"
    own = qs.Encoded(qs.tasks.make("grid-navigation"), lambda seen: seen[..., None].float() / 25, size=1)
    for agent, said in (
        (qs.Random(tasks), "draws no action from parameters"),
        (qs.RL3(tasks), "rl3's step can't be traced"),
        (qs.Reptile(tasks, qs.Reptile.Config(inner_optimiser="adam")), "adapts by Adam"),
        (qs.PEARL(tasks), "neither its memory nor a gradient step"),
        (elsewhere, "lives on cuda"),
        (qs.RL2(own, TINY), "encodes observations by code of its own"),
        (qs.MPC(qs.tasks.make("cart-pole")), "draws no action from parameters"),
    ):
        with pytest.raises(qs.UsageError, match=said) as refused:
            qs.export(agent, tmp_path / "a.onnx")
        assert "\n" not in str(refused.value)
    for path, options, said in (("a.pt", {}, "FILE.onnx"), ("a.onnx", {"horizon": 0}, "at least 1")):
        with pytest.raises(qs.UsageError, match=said):
            qs.export(qs.RL2(tasks, TINY), tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_a_file_tells_all_that_another_program_needs(exported: Path):
    told = runtime.load(exported).contents.told
    assert (told["agent"], told["adapts"], told["licence"], told["run"]) == ("rl2", "memory", "CC0-1.0", {"iteration": 3})
    assert told["observation"] == {"kind": "discrete", "shape": [], "dtype": "int64", "start": 0, "counts": 25}
    assert told["memory"]["state"] == {"shape": [16], "dtype": "float32", "first": 0.0}
    assert told["percept"]["reward"] == {"shape": ["lanes"], "dtype": "float32"}
    # neither paths nor names of this machine
    content = exported.read_bytes()
    assert str(Path(qs.__file__).parent).encode() not in content and b".py" not in content


def test_many_lanes_are_one_product_and_each_is_what_it_is_alone(exported: Path):
    agent = runtime.load(exported)
    generator = np.random.default_rng(0)
    told: dict[str, Any] = {"observation": generator.integers(0, 25, 7), "action": np.zeros(7, np.int64)}
    told |= {"arrival": told["observation"], "reward": np.zeros(7, np.float32), "first": np.ones(7, bool)}
    told |= {name: np.zeros(7, bool) for name in ("terminated", "truncated")}
    told |= {f"memory.{name}": np.repeat(value[None], 7, 0) for name, value in agent.contents.memory.items()}
    together = agent.step(told)
    for lane in range(7):
        alone = agent.step({name: value[lane : lane + 1] for name, value in told.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value, together[name][lane : lane + 1], atol=1e-6)


def test_files_that_are_none_are_refused_in_a_line(exported: Path, tmp_path: Path):
    content, path = exported.read_bytes(), tmp_path / "agent.onnx"
    generator = np.random.default_rng(0)
    flipped = []
    for place in generator.integers(0, len(content), 25):
        flipped.append(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for broken in (b"", b"no model", content[: len(content) // 2], content + b"x", *flipped):
        path.write_bytes(broken)
        with pytest.raises(qs.QuickstudyError) as refused:
            runtime.load(path)
        assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(qs.UsageError, match="no such file"):
        runtime.load(tmp_path / "nowhere.onnx")
    path.unlink()
    path.symlink_to(exported)
    with pytest.raises(qs.QuickstudyError, match="link"):
        runtime.load(path)


def test_what_a_stranger_tells_is_held_against_a_pattern(exported: Path):
    told = runtime.load(exported).contents.told
    gradient = {"adapts": "gradient", "adaptation": {"file": "../other.onnx", "sha256": ""}}
    for changes in (
        {"format": 2},
        {"adapts": "magic"},
        {"lanes": 0},
        {"horizon": 2**40},
        gradient,
        {"memory": {"state": {"shape": [2**30], "dtype": "float32", "first": 0.0}}},
        {"memory": {"state": {"shape": [2], "dtype": "float32", "first": "AAAA"}}},
        {"memory": {"state": {"shape": [2], "dtype": "object", "first": 0.0}}},
        {"observation": {"kind": "secret", "shape": [], "dtype": "int64"}},
        {"observation": {"kind": "box", "shape": [-1], "dtype": "float32"}},
        {"action": {"kind": "discrete", "shape": [], "dtype": "int64", "counts": 0}},
        {"distribution": {"kind": "gaussian", "shape": [2], "center": [0.0], "scale": [1.0]}},
        {"distribution": {"kind": "secret"}},
    ):
        with pytest.raises((qs.QuickstudyError, LookupError, TypeError, ValueError)):
            contents_of(told | changes)


def test_a_session_takes_and_refuses_what_quickstudys_own_does(exported: Path):
    ours = qs.RL2(qs.tasks.make("grid-navigation"), TINY).session(greedy=True)
    theirs = runtime.load(exported).session(greedy=True)
    with pytest.raises(qs.UsageError, match="before the first action"):
        theirs.parameters  # noqa: B018
    for session in (ours, theirs):
        for observation in (25, -1, 1.5, "3", None):
            with pytest.raises(ValueError):
                session.act(observation)
        with pytest.raises(qs.UsageError, match="without an action"):
            session.feedback(1.0)
        session.act(0)
        with pytest.raises(qs.UsageError, match="called twice"):
            session.act(0)
        for reward, end in (("1", False), (float("nan"), False), (1e39, False), (None, False), (1.0, 1)):
            with pytest.raises(ValueError):
                session.feedback(reward, end)
        session.feedback(1.0, False, True, 3)
    assert isinstance(theirs.value, float) and theirs.parameters.shape == (5,)
    twin = theirs.fork()
    assert twin.act(3) == theirs.act(3)


def test_seeds_decide_what_is_drawn(exported: Path):
    agent = runtime.load(exported)

    def lived(session: runtime.Session) -> list[int]:
        found = []
        for step in range(30):
            found.append(int(session.act(step % 25)))
            session.feedback(0.0, False, step % 10 == 9, 0)
        return found

    first = agent.session(seed=3)
    twin, other = first.fork(), first.fork(seed=4)
    assert lived(first) == lived(twin) == lived(agent.session(seed=3)) != lived(other)


def test_the_command_writes_a_file_and_names_what_it_may_not(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    pytest.importorskip("onnxscript", reason="needs quickstudy[export]")
    run = tmp_path / "run"
    options = "--trials", "8", "--hidden-size", "8", "--iterations", "1", "--evaluate-every", "0"
    assert main(["train", "rl2", "bandit", "--arms", "3", *options, "--run", str(run)]) == 0
    capsys.readouterr()
    assert main(["export", str(run)]) == 0
    assert re.match(r".*agent\.onnx  [\d.]+ KiB", capsys.readouterr().out)
    told = runtime.load(run / "agent.onnx").contents.told
    assert told["run"]["iteration"] == 1 and len(told["run"]["sha256"]) == 64
    assert main(["export", str(run), "-o", str(tmp_path / "agent.pt")]) == 2
    assert "name it FILE.onnx" in capsys.readouterr().err


def test_the_runtime_needs_no_pytorch(exported: Path):
    script = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "gymnasium", "safetensors", "onnx"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from quickstudy import runtime
session = runtime.load({str(exported)!r}).session(seed=0)
for step in range(40):
    session.act(step % 25)
    session.feedback(0.5, False, step % 15 == 14, 3)
session.new_task()
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "gymnasium")))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == []


SPACES = [
    spaces.Discrete(4),
    spaces.Discrete(4, start=-2),
    spaces.Box(-1, 1, (2, 3)),
    spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32)),
    spaces.Box(-5, 5, (3,), np.int32),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(4),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rules_encode_and_decode_as_quickstudy_does(space: Any):
    rule = rule_of(space)
    assert rule is not None
    told = space_of(json.loads(json.dumps(rule)))
    space.seed(0)
    for _ in range(50):
        element = space.sample()
        ours, theirs = told.encode(element), encode(space, element)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        flat = np.asarray(element, np.float32 if isinstance(space, spaces.Box) else np.int64)
        action = flat - (space.start if isinstance(space, spaces.Discrete) else 0)
        if not isinstance(space, spaces.Box):
            action = action.reshape(-1) if space.shape else action
        assert np.array_equal(told.decode(action), decode(space, action))
    assert np.array_equal(told.decode(told.decode(action) * 0), decode(space, action * 0)) or space.shape != ()


BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32))
DISTRIBUTIONS = [
    (Categorical(3), spaces.Discrete(3)),
    (MultiCategorical([3, 2]), spaces.MultiDiscrete([3, 2])),
    (DiagonalGaussian(BOX), BOX),
    (soft.SquashedGaussian(BOX), BOX),
    (soft.SquashedPoint(BOX, 0.2), BOX),
]


@pytest.mark.parametrize(("distribution", "space"), DISTRIBUTIONS, ids=lambda each: type(each).__name__)
def test_numpy_draws_from_the_distribution_that_quickstudy_draws_from(distribution: Any, space: Any):
    draws = draws_of(json.loads(json.dumps(distribution_rule(distribution, space))))
    parameters = torch.linspace(-0.7, 0.6, distribution.size)
    assert draws.size == distribution.size
    generator, count = np.random.default_rng(0), 4000
    ours = np.stack([draws.sample(parameters.numpy(), generator) for _ in range(count)]).reshape(count, -1)
    theirs = distribution.sample(parameters.expand(count, -1), torch.Generator().manual_seed(0))
    theirs = theirs.double().reshape(count, -1).numpy()
    error = theirs.std(0) * np.sqrt(2 / count)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    assert np.allclose(ours.std(0), theirs.std(0), rtol=0.08)


def test_stand_ins_do_what_they_stand_in_for():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 12, generator=generator, dtype=torch.float64)
    rows[:, 3] = rows[:, 4]  # the ridge alone tells these apart
    gram = rows.T @ rows / 50 + 1e-3 * torch.eye(12, dtype=torch.float64)
    target = torch.randn(12, 1, generator=generator, dtype=torch.float64)
    assert torch.allclose(inverse_times(gram, target)[0], torch.linalg.solve(gram, target), rtol=1e-9)
    values, discount = (torch.rand(2, 3, 37, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(discounted_sum(values, discount), returns.discounted_sum(values, discount), rtol=1e-12)
    steps = torch.randint(0, 9, (2, 3, 10), generator=generator)
    assert torch.equal(running_maximum(steps, -1)[0], steps.cummax(-1).values)


def test_checksums_and_first_values_round_trip():
    content = sealed(b"before sha256:" + b"0" * 64 + b" after")
    require_sealed(content)
    with pytest.raises(qs.QuickstudyError, match="altered"):
        require_sealed(content.replace(b"before", b"behind"))
    with pytest.raises(qs.QuickstudyError, match="no checksum"):
        require_sealed(b"nothing")
    for values in (np.zeros((2, 3), np.float32), np.arange(6, dtype=np.int64), np.array(2.5), np.array([np.nan, 1.0])):
        found = first_of(json.loads(json.dumps(first_as_json(values))))
        assert found.dtype == values.dtype and np.array_equal(found, values, equal_nan=values.dtype.kind == "f")
