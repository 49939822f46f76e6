"""docs/results.md is made of the library's own statistics, and says what they are over and what was measured before; recipes
say what their cells say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.families import family
from quickstudy.recipes import FOLDER, recipe, recipes
from quickstudy.recipes.tuned import configuration
from quickstudy.scores import ends, pool

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


def test_a_figure_within_the_scores_own_interval_is_undecided(page: Any):
    scores = np.array([[9.0, 10.0, 11.0] * 30])
    assert page.verdict(scores, 9.5) == "reached" and page.verdict(scores, 10.5) == "missed"
    assert page.verdict(scores, 10.1).startswith("undecided, 10.00 of [9.8") and page.verdict(scores, 9.9).startswith("undec")


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


def test_what_a_training_took_is_told_where_every_seed_was_measured(page: Any):
    evaluation = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=2)), num_tasks=5)
    took = [{"operations": 2e15, "memory": 400}, {"operations": 4e15, "memory": 600}]
    cells = [cell(evaluation, seed, **each) for seed, each in enumerate(took)]
    places = [page.HEADS.index(head) + 1 for head in ("TFLOP", "MiB")]
    for measured, told in ((cells, ["3,000", "600"]), ([*cells, cell(evaluation, 2)], ["", ""])):
        head, _, line, *published = page.table_of(page.WORKS["bandit-5x10"], page.rows_of(measured))
        assert [line.split("|")[place].strip() for place in places] == told
        assert {each.count("|") for each in (line, *published)} == {head.count("|")}


def test_operations_are_those_of_matrix_products_for_as_many_steps(page: Any):
    import results

    class Multiplies:
        """Lives 10 steps a meta-iteration, with one product of 3 x 4 and 4 x 5."""

        tasks, device = qs.tasks.make("bandit", pulls=2), "cpu"

        def train_step(self, work: Any) -> dict[str, float]:
            assert (torch.ones(3, 4) @ torch.ones(4, 5)).sum() == 60
            return {"rollout/timesteps": 10.0}

    learner: Any = Multiplies()
    assert results.operations_of(learner, 200) == 20 * 2 * 3 * 4 * 5


def test_the_peak_of_memory_is_this_process_own(page: Any):
    import psutil
    import results

    before = results.peak_memory()
    assert before >= 0.9 * psutil.Process().memory_info().rss / 2**20
    held = bytearray(200 * 2**20)
    assert results.peak_memory() >= min(before, psutil.Process().memory_info().rss / 2**20) and len(held)


def test_each_goal_is_met_as_often(page: Any):
    from works import Each, Work

    work = Work("", "grid-navigation", {}, 21 * 100, ("random",), {}, "random", each=100)
    tasks: Any = Each(work.tasks())
    found = qs.evaluate(qs.Random(work.tasks()), tasks, num_tasks=work.num_tasks, batch=work.batch(), episodes=1)
    goals, counts = found.drawn["goal"].unique(dim=0, return_counts=True)
    assert len(goals) == 21 and set(counts.tolist()) == {100}
    assert work.batch() == 48 * 21 and work._replace(each=0).batch() == 1024


def test_operations_of_a_memory_are_counted(page: Any):
    """One pass forward to collect, one forward and two back to learn, over every matrix: but for the ends of the way back."""
    import results

    tasks = qs.tasks.make("bandit", pulls=10)
    learner = qs.RL2(tasks, qs.RL2.Config(trials=64, hidden_size=32, n_epochs=1, minibatches=1))
    entries = sum(weight.numel() for weight in learner.state_dict()["weights"].values() if weight.dim() > 1)
    assert results.operations_of(learner, 1000) == pytest.approx(4 * 2 * entries * 1000, rel=0.05)


def test_figures_of_a_field_have_a_table(page: Any):
    figures = {"time in range": [[0.5, 0.7], [0.7, 0.9]], "ends": [[1.0, 0.0], [0.0, 0.0]]}
    stored = {"lanes": 1, "says": "", "success": None, "returns": [[0.0, 1.0], [1.0, 2.0]], "figures": figures}
    cells = [{"seed": None, "label": "untrained", "evaluations": {"rule": stored}}]
    head, line = (text for text in page.figures_table(page.rows_of(cells)) if "---" not in text and text)
    assert head == "| agent | time in range | ends |"
    low, high = page.mean_interval(np.array([[0.6, 0.8]]))
    assert line == f"| rule | 0.7 [{low:.4g}, {high:.4g}] (0.6, 0.8) | 0.25 [{page_interval(page)}] (0.5, 0) |"


def page_interval(page: Any) -> str:
    low, high = page.mean_interval(np.array([[0.5, 0.0]]))
    return f"{low:.4g}, {high:.4g}"


def test_without_figures_there_is_none(page: Any):
    evaluation = qs.evaluate(qs.oracle("ucb1", qs.tasks.make("bandit", pulls=3)), num_tasks=4)
    assert page.figures_table(page.rows_of([cell(evaluation, 0, formulae=page.FORMULAE)])) == []
