"""The tasks of benchmarks/defaults.py are what they say, and its page what their cells say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import quickstudy as qs

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import defaults

    return defaults


def test_the_acrobot_is_gymnasiums(defaults: Any):
    import unseen

    env: Any = gymnasium.make("Acrobot-v1").unwrapped
    env.reset(seed=0)
    env.LINK_MASS_1, env.LINK_MASS_2 = 0.3, 0.7
    dynamics = unseen.Acrobot()
    task = {"LINK_MASS_1": torch.tensor(0.3).double(), "LINK_MASS_2": torch.tensor(0.7).double()}
    state = unseen.Links(*map(torch.tensor, env.state))
    noise, terminated, steps = torch.zeros(0), False, 0
    while not terminated:
        action = 1 - int(np.sign(env.state[2]))  # pumps, until it is up
        seen, reward, terminated, *_ = env.step(action)
        reached = dynamics.transition(state, torch.tensor(action), task, noise)
        assert torch.allclose(dynamics.observation(reached, task), torch.from_numpy(seen).double(), atol=1e-5)
        assert float(dynamics.reward(state, torch.tensor(action), reached, task, noise)) == reward
        assert bool(dynamics.terminal(reached, task)) is terminated
        state, steps = reached, steps + 1
    assert 20 < steps < 200


def test_a_shop_shows_a_flattened_dict_and_orders_come_in_time(defaults: Any):
    import unseen

    shop, zero = unseen.Shop(), torch.zeros(())
    goods = unseen.Goods(torch.tensor(7.0), torch.tensor([1.0, 2, 3, 4]), torch.tensor(1.0), zero)
    seen = {"stock": np.array([7.0], np.float32), "ordered": np.array([1, 2, 3, 4], np.float32), "missed": 1}
    assert shop.observation(goods, {}).tolist() == gymnasium.spaces.flatten(shop.seen, seen).tolist()
    task = {"customers": torch.tensor(1.0), "days": torch.tensor(3.0)}
    stocks, goods = [], shop.initial(task, torch.zeros(1))
    for order in (9, 0, 0, 0):
        goods = shop.transition(goods, torch.tensor(order), task, torch.zeros(1))  # nobody comes
        stocks.append(float(goods.stock))
    assert stocks == [0, 0, 9, 9]


def test_demand_is_poisson(defaults: Any):
    import unseen

    drawn = unseen.poisson(torch.tensor(3.0), (torch.arange(100_000) + 0.5) / 100_000)
    assert drawn.mean() == pytest.approx(3, abs=1e-3) and drawn.var() == pytest.approx(3, abs=1e-2)


def test_every_task_distribution_is_lived_by_whom_it_takes(defaults: Any):
    for name, unseen in defaults.UNSEEN.items():
        returns = qs.evaluate(qs.Random(unseen.make()), num_tasks=20).returns
        assert torch.isfinite(returns).all() and returns.std() > 0, name
        for each, entry in defaults.ALGORITHMS.items():
            numbered = isinstance(unseen.make().observation_space, gymnasium.spaces.Discrete)
            takes = (entry.observations != "discrete" or numbered) and (entry.actions == "any" or name != "greenhouse")
            assert (defaults.refusal(defaults.Cell(each, name)) is None) is takes, (each, name)


def test_a_learner_is_told_on_the_scale_from_random_to_told(defaults: Any):
    stored = {"returns": [[0.0, 30.0], [0.0, 50.0]], "curve": [[1, 0.0], [2, 90.0], [3, 40.0]], "says": "it fell"}
    told = defaults.told_of(stored, -10.0, 90.0)
    assert told == (0.5, 1.0, 0.5, "it fell") and not told.collapsed
    assert told.in_words() == "0.50 (1.00, 0.50) (says so)"
    assert told._replace(last=0.4, says="").in_words() == "0.50 (1.00, 0.40) fell"
    assert told._replace(share=0.05, best=0.06, last=0.0, says="").in_words() == "0.05 (0.06, 0.00) none"


def test_a_changed_default_makes_a_cell_stale(defaults: Any, tmp_path: Path):
    cell, budget = defaults.Cell("rl2", "shop"), defaults.Budget(10, 10)
    settings = defaults.settings_of(cell, budget)
    path = cell.result(tmp_path)
    path.parent.mkdir(parents=True)
    for options, fresh in ((settings["options"], True), (settings["options"] | {"gamma": 0.5}, False)):
        path.write_text(defaults.json.dumps({"settings": settings | {"options": options}}))
        assert (defaults.finished(cell, budget, tmp_path) is not None) is fresh
        assert (cell in defaults.stored_cells(tmp_path)) is fresh
