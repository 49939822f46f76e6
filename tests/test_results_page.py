"""docs/results.md is made of the library's own statistics, and says what they are over and what was measured before; recipes
say what their cells say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quickstudy as qs
from quickstudy.evaluation import ends, pool
from quickstudy.families import family
from quickstudy.recipes import FOLDER, recipe, recipes
from quickstudy.recipes.tuned import configuration

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import page

    return page


def cell(evaluation: Any, seed: int, **more: Any) -> dict[str, Any]:
    stored = {"lanes": 1, "says": "", "success": None, "returns": evaluation.returns.tolist()}
    return {"seed": seed, "label": "RL2", "command": "", "steps": 1e6, "seconds": 60, "evaluations": {"RL2": stored}} | more


def test_the_page_tells_what_an_evaluation_tells(page: Any):
    tasks = qs.tasks.make("bandit", pulls=20)
    apart = [qs.evaluate(qs.RL2(tasks, seed=seed), num_tasks=50) for seed in range(3)]
    cells = [cell(each, seed, formulae=page.FORMULAE) for seed, each in enumerate(apart)]
    [row] = pool(apart, range(3)).rows
    line = page.table_of(page.WORKS["bandit-5x10"], page.rows_of(cells))[2]
    assert f"| RL2 | {row['mean']:.2f} {ends(row, 'mean')} | seeds and tasks |" in line and "before" not in line
    [row] = apart[0].rows
    line = page.table_of(page.WORKS["bandit-5x10"], page.rows_of(cells[:1]))[2]
    assert f"| RL2 | {row['mean']:.2f} {ends(row, 'mean')} | tasks only |" in line


def test_each_episode_is_told_by_its_mean(page: Any):
    assert page.by_episode(np.array([[[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [8.0, 10.0]]])) == "2.00, 4.00"


def test_a_row_one_of_whose_seeds_was_trained_before_says_so(page: Any):
    evaluation = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=2)), num_tasks=5)
    for formulae, before in (([2, 2], False), ([2, 1], True), ([None, 2], True)):
        cells = [cell(evaluation, seed, **({"formulae": number} if number else {})) for seed, number in enumerate(formulae)]
        assert page.rows_of(cells)["RL2"]["before"] is before


def test_a_seed_that_says_nothing_of_success_never_succeeded_where_another_did(page: Any):
    assert page.mean_success([[0.5, 1.0], None]) == [0.25, 0.5] and page.mean_success([None, None]) is None
    assert page.mean_success([[0.2], [0.4]]) == pytest.approx([0.3])


def test_each_table_is_of_its_recipes_tasks_and_each_recipe_of_one_table(page: Any):
    trained = [(work, each.recipe) for work in page.WORKS.values() for each in work.trained.values()]
    for work, name in trained:
        assert configuration(recipe(name)).task_options == family(work.family)(**work.options), name
    assert len({name for _, name in trained}) == len(trained)


def test_recipes_say_what_the_cells_reached(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Written anew they are the same files, and what has no cell says nothing of a result."""
    import results

    for name in recipes():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.toml").write_text((FOLDER / f"{name}.toml").read_text())
    monkeypatch.setattr(page, "RECIPES", tmp_path)
    # a figure of a learner that has no cell today
    sac = tmp_path / "point-navigation" / "multi-task-sac.toml"
    sac.write_text(f"{sac.read_text()}\n[result]\nmean = 1.0\n")
    page.write_recipes(results.cells_by_work())
    for name in recipes():
        assert (tmp_path / f"{name}.toml").read_text() == (FOLDER / f"{name}.toml").read_text(), name
    trained = {each.recipe for work in page.WORKS.values() for each in work.trained.values()}
    assert {name for name, found in recipes().items() if found.result} <= trained
