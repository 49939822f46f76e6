"""Figures for papers: what they are drawn from, text that stays text, and the same bytes for the same figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.looks import LOOKS
from quickstudy.plots import COLUMN, plot_comparison
from quickstudy.report.comparison import Learnt, aligned
from quickstudy.scores import Evaluation


def evaluation(algorithm: str, seeds: int, luck: int) -> Evaluation:
    returns = torch.randn(6 * seeds, 3, generator=torch.Generator().manual_seed(luck))
    usual: dict[str, Any] = {"tasks": "t", "split": "test", "seed": 0, "lanes": 1, "greedy": False, "success": None}
    usual |= {"trained_episodes": 3, "splits": "partitioned", "drawn": {"a": torch.arange(6.0).repeat(seeds)}}
    return Evaluation(algorithm=algorithm, returns=returns, seeds=tuple(range(seeds)) if seeds > 1 else (), **usual)


SHOWN = {"runs/rl2": evaluation("rl2", 3, 0), "runs/mine": evaluation("mine", 1, 1)}
LEARNT = {
    "runs/rl2": aligned("return", [{step: (1000.0 * step, seed + step) for step in range(5)} for seed in range(3)]),
    "runs/mine": aligned("return", [{0: (500.0, 1.0)}]),
}


def drawn(path: Path, **options: Any) -> str:
    plot_comparison(SHOWN, LEARNT, path, **options)
    return path.read_text(errors="replace")


@pytest.mark.parametrize("columns", COLUMN)
def test_a_figure_is_as_wide_as_its_columns_and_its_text_is_text(tmp_path: Path, columns: int):
    text = drawn(tmp_path / "figure.svg", columns=columns)
    [width] = re.findall(r'<svg[^>]* width="([\d.]+)pt"', text)
    assert float(width) == pytest.approx(72 * COLUMN[columns])
    for words in ("episode of the trial", "environment steps of a seed", "runs/rl2", "runs/mine", "2k"):
        assert f">{words}</text>" in text.replace("</tspan>", "")
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)}
    assert min(sizes) >= 7
    assert {LOOKS["rl2"].light, LOOKS["varibad"].light} <= set(re.findall(r"#[0-9a-f]{6}", text)), (
        "mine takes the next free one"
    )


@pytest.mark.parametrize("kind", ("svg", "pdf", "png"))
def test_the_same_figures_are_the_same_bytes(tmp_path: Path, kind: str):
    first, second = ((tmp_path / f"{name}.{kind}") for name in ("first", "second"))
    plot_comparison(SHOWN, LEARNT, first)
    plot_comparison(SHOWN, LEARNT, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:4] in (b"<?xm", b"%PDF", b"\x89PNG")


def test_runs_without_learning_curves_have_the_other_two_pictures(tmp_path: Path):
    plot_comparison(SHOWN, {name: aligned("return", [{}]) for name in SHOWN}, tmp_path / "figure.svg")
    assert "environment steps" not in (tmp_path / "figure.svg").read_text()


def test_seeds_are_aligned_by_how_far_training_was():
    found = aligned("return", [{10: (100, 1.0), 20: (210, 2.0)}, {10: (110, 3.0)}])
    assert isinstance(found, Learnt)
    np.testing.assert_array_equal(found.steps, [[100, 210], [110, np.nan]])
    np.testing.assert_array_equal(found.returns, [[1, 2], [3, np.nan]])
