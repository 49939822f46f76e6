"""An exported agent lives whole trials as the agent itself does: every choice the same, parameters to 1e-5."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs quickstudy[export]")
pytest.importorskip("onnxscript", reason="needs quickstudy[export]")

from parity import learner, side_by_side

import quickstudy as qs

KINDS = "bandit", "grid-navigation", "point-navigation"
QUICK = [("rl2", "grid-navigation", False), ("maml", "point-navigation", False)]
OTHERS = [
    *((name, family, False) for name in ("rl2", "varibad", "maml", "multi-task") for family in KINDS),
    *((name, family, False) for name in ("recurrent-sac", "promp") for family in KINDS[1:]),
    *((name, "point-navigation", False) for name in ("reptile", "norml", "es-maml", "task-informed")),
    *((name, "point-navigation", True) for name in ("rl2", "maml", "varibad")),
]


def lives_alike(name: str, family: str, normalised: bool, folder: Path, **options: object) -> None:
    agent = learner(name, family, normalised, **options)
    saved = qs.export(agent, folder / "agent.onnx")
    found = side_by_side(agent, saved.paths[0])
    assert found.steps > 2 * found.adaptations > 0
    assert found.other_actions == 0
    assert found.action < 1e-5
    assert found.parameters < 1e-5


@pytest.mark.parametrize(("name", "family", "normalised"), QUICK)
def test_whole_trials_are_lived_alike(name: str, family: str, normalised: bool, tmp_path: Path):
    lives_alike(name, family, normalised, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family", "normalised"), [each for each in OTHERS if each not in QUICK])
def test_whole_trials_are_lived_alike_by_all_that_can_be_exported(name: str, family: str, normalised: bool, tmp_path: Path):
    lives_alike(name, family, normalised, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("multi-task-sac", {"fine_tune_steps": 0}),
        ("maml", {"inner_ratio": "path"}),
        ("maml", {"inner_ratio": "path", "ratio_lambda": 0.5, "gae_lambda": 0.9}),
        ("maml", {"adapt": "context"}),
        ("maml", {"adapt": "head", "later_rate_share": 0.5, "learn_inner_rate": False}),
        ("rl2", {"memory": "lstm", "value": "shared"}),
        ("rl2", {"memory": "gru-norm", "layer_norm": True, "hidden_layers": 1}),
        ("recurrent-sac", {"method": "td3", "memory": "lstm"}),
    ],
)
def test_options_are_lived_alike(name: str, options: dict[str, object], tmp_path: Path):
    lives_alike(name, "point-navigation", False, tmp_path, **options)
