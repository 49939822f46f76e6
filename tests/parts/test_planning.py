"""A planner against Riccati's optimum, a search lane by lane, and what its methods are in the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import quickstudy as qs
from quickstudy.ops.shooting import best_of, colouring, elite_weights, path_weights
from quickstudy.parts.planning import Actions, BoxActions, DiscreteActions, Proposal, acted, actions_for, draws, search
from quickstudy.protocol import counter


@dataclass(frozen=True, kw_only=True)
class Settings:
    planner: Literal["cem", "mppi", "random"] = "cem"
    plan_steps: int = 6
    candidates: int = 1000
    refits: int = 5
    elite_share: float = 0.05
    plan_temperature: float = 0.1
    noise_color: float = 0.0
    least_deviation: float = 0.01


BOX = BoxActions(spaces.Box(-5, 5, (2,)))
PUSHED = torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.0, 0.1], [0.0, -0.2, 0.9]])
PUSH = torch.tensor([[0.0, 0.1], [0.1, 0.0], [0.0, 0.2]])


def cost_of(start: Tensor, plans: Tensor, last: float = 5.0) -> Tensor:
    """The quadratic cost of plans in the world s' = A s + B u, from each lane's start."""
    state = start[:, :, None].expand(*plans.shape[:3], 3)
    total = torch.zeros(plans.shape[:3])
    for unit in plans.unbind(-2):
        push = 5 * unit
        total = total + state.square().sum(-1) + 0.1 * push.square().sum(-1)
        state = state @ PUSHED.T + push @ PUSH.T
    return total + last * state.square().sum(-1)


def riccati_cost(start: Tensor, steps: int, last: float = 5.0) -> Tensor:
    """The least there is: V_t = s' P_t s, P_T = last I, by dynamic programming."""
    value = last * torch.eye(3)
    for _ in range(steps):
        gain = torch.linalg.solve(0.1 * torch.eye(2) + PUSH.T @ value @ PUSH, PUSH.T @ value @ PUSHED)
        value = torch.eye(3) + PUSHED.T @ value @ (PUSHED - PUSH @ gain)
    return torch.einsum("...i,ij,...j->...", start, value, start)


def starts(tasks: int = 2, lanes: int = 3) -> Tensor:
    return 1.5 * torch.nn.functional.normalize(torch.randn(tasks, lanes, 3, generator=counter(0, 0, "starts")), dim=-1)


def found(settings: Settings, actions: Actions, score: Any, lead: tuple[int, int], seed: int = 0) -> Any:
    noise = draws(actions, settings, *lead, counter(seed, 0, "noise"), "cpu")
    return search(actions, settings, actions.first(*lead, settings.plan_steps, "cpu"), score, noise)


@pytest.mark.parametrize("settings", [Settings(), Settings(planner="mppi", refits=8)], ids=["cem", "mppi"])
def test_a_plan_in_a_linear_world_costs_what_riccati_says(settings: Settings):
    start = starts()
    plan = found(settings, BOX, lambda plans: -cost_of(start, plans), (2, 3)).proposal.mean
    best = riccati_cost(start, settings.plan_steps)
    cost = cost_of(start, plan[:, :, None])[..., 0]
    assert bool((cost >= best * (1 - 1e-4)).all()) and bool((cost < 1.01 * best).all()), cost / best


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(4)], ids=["box", "discrete"])
def test_lanes_plan_as_each_would_alone_with_its_own_noise(actions: Actions):
    """A batch that pairs the noise of one lane with the state of another is found out here."""
    settings = Settings(candidates=50, plan_steps=4, refits=2)
    target = torch.randn(2, 3, 4, actions.size, generator=counter(1, 0, "targets"))
    score = lambda wanted: lambda plans: -(plans - wanted[:, :, None]).square().sum((-1, -2))  # noqa: E731
    noise = draws(actions, settings, 2, 3, counter(0, 0, "noise"), "cpu")
    first = actions.first(2, 3, 4, "cpu")
    together = search(actions, settings, first, score(target), noise).proposal
    assert not torch.allclose(together.mean[0, 0], together.mean[1, 2])
    for task in range(2):
        for lane in range(3):
            at = (slice(task, task + 1), slice(lane, lane + 1))
            alone = search(actions, settings, Proposal(*(p[at] for p in first)), score(target[at]), noise[(slice(None), *at)])
            torch.testing.assert_close(alone.proposal.mean[0, 0], together.mean[task, lane], rtol=1e-5, atol=1e-5)


def test_elites_get_no_worse_from_refit_to_refit():
    """Those that are tried again and the middle of the proposal see to it, where all elites are kept."""
    start = starts()
    returns = found(Settings(candidates=300, refits=6), BOX, lambda plans: -cost_of(start, plans), (2, 3)).returns
    assert bool((returns.diff(dim=-1) > 0).all())


def test_elites_are_the_highest_returns_by_rank():
    returns = torch.tensor([[3.0, 9.0, 1.0, 7.0, 8.0], [0.0, -5.0, 2.0, 1.0, torch.nan]])
    assert best_of(returns, 2).sort(-1).values.tolist() == [[1, 4], [2, 3]]
    torch.testing.assert_close(elite_weights(returns, 2), torch.tensor([[0, 0.5, 0, 0, 0.5], [0, 0, 0.5, 0.5, 0]]))


def test_a_cold_mppi_takes_the_best_candidate_and_a_hot_one_their_mean():
    returns = torch.tensor([[1.0, 5.0, 3.0]])
    torch.testing.assert_close(path_weights(returns, 1e-6), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(path_weights(returns, 1e6), torch.full((1, 3), 1 / 3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(path_weights(torch.ones(1, 4), 0.5), torch.full((1, 4), 0.25))
    # by hand: deviation sqrt(8/3), exponents -4 and -2 over it
    unit = (8 / 3) ** 0.5
    expected = torch.tensor([-4 / unit, 0, -2 / unit]).softmax(0)
    torch.testing.assert_close(path_weights(returns, 1.0)[0], expected)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(3)], ids=["box", "discrete"])
def test_one_refit_to_all_candidates_is_their_mean(actions: Actions):
    settings = Settings(candidates=40, refits=1, elite_share=1.0, plan_steps=3, least_deviation=0.0)
    noise = draws(actions, settings, 1, 2, counter(0, 0, "noise"), "cpu")
    first = actions.first(1, 2, 3, "cpu")
    seen: list[Tensor] = []

    def score(plans: Tensor) -> Tensor:
        seen.append(plans)
        return plans.sum((-1, -2))

    torch.testing.assert_close(search(actions, settings, first, score, noise).proposal.mean, seen[0].mean(2))


@pytest.mark.parametrize("planner", ["cem", "mppi", "random"])
def test_numbered_actions_are_found(planner: Any):
    """The best of three at each time: all planners agree on it, and the environment is given its number."""
    best = torch.tensor([2, 0, 1, 1])
    settings = Settings(planner=planner, candidates=400, plan_steps=4)
    score = lambda plans: plans.take_along_dim(best[None, None, None, :, None], -1).sum((-1, -2))  # noqa: E731
    actions = DiscreteActions(3)
    plan = found(settings, actions, score, (1, 1)).proposal.mean
    assert actions.taken(plan)[0, 0].tolist() == best.tolist()
    assert float(plan.min()) >= settings.least_deviation / 3 * (1 - 1e-5)
    torch.testing.assert_close(plan.sum(-1), torch.ones(1, 1, 4))


def test_numbered_actions_are_drawn_by_their_chances():
    chances = torch.tensor([0.1, 0.6, 0.3]).expand(1, 1, 2, 3)
    actions = DiscreteActions(3)
    noise = torch.randn(1, 1, 40_000, 2, 1, generator=counter(0, 0, "noise"))
    drawn = actions.drawn(Proposal(chances, chances), noise)
    torch.testing.assert_close(drawn.mean(2), chances, rtol=0, atol=0.01)
    torch.testing.assert_close(actions.anyhow(noise).mean(2), torch.full((1, 1, 2, 3), 1 / 3), rtol=0, atol=0.01)


def test_candidates_are_clipped_as_the_environment_clips_them():
    """What is tried, and fitted to, is what would be done: no candidate lies outside, however wide the proposal."""
    wide = Proposal(torch.zeros(1, 1, 5, 2), torch.full((1, 1, 5, 2), 4.0))
    noise = torch.randn(1, 1, 500, 5, 2, generator=counter(0, 0, "noise"))
    drawn = BOX.drawn(wide, noise)
    assert drawn.min() == -1 and drawn.max() == 1
    torch.testing.assert_close(BOX.taken(drawn), (5 * 4 * noise).clamp(-5, 5))
    anywhere = BOX.anyhow(noise)
    assert float(anywhere.abs().max()) <= 1 and abs(float(anywhere.var()) - 1 / 3) < 0.02  # uniform on [-1, 1]


def test_deviations_have_a_floor():
    settings = Settings(candidates=20, elite_share=0.05, refits=3, least_deviation=0.2)
    deviation = found(settings, BOX, lambda plans: plans.sum((-1, -2)), (1, 1)).proposal.deviation
    torch.testing.assert_close(deviation, torch.full_like(deviation, 0.2))  # a single elite deviates by nothing


def test_coloured_noise_has_its_power_and_the_variance_of_white_noise():
    torch.testing.assert_close(colouring(9, 0.0), torch.eye(9), rtol=0, atol=1e-6)
    for steps in (12, 13):
        make = colouring(steps, 2.0)
        torch.testing.assert_close(make.square().sum(1), torch.ones(steps))
        power = torch.fft.rfft(make, dim=0).abs().square().sum(1)[1:]
        expected = torch.arange(1, steps // 2 + 1).float() ** -2
        torch.testing.assert_close(power / power[0], expected)


def test_the_next_step_plans_on_from_the_rest_of_the_plan_and_an_episode_begins_without_one():
    settings, actions = Settings(candidates=1, refits=1, elite_share=1.0, plan_steps=3), DiscreteActions(2)
    plan = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]).expand(1, 2, 3, 2).clone()
    first = torch.tensor([[False, True]])
    nothing = lambda plans: torch.zeros(plans.shape[:3])  # noqa: E731
    action, rest = acted(actions, settings, plan, first, nothing, None)
    # one candidate, the middle of the proposal: the plan itself, each time's likeliest action
    assert action.tolist() == [[0, 0]]
    assert rest[0, 0].argmax(-1)[:2].tolist() == [1, 0]
    torch.testing.assert_close(rest[0, 0, -1], torch.tensor([0.5, 0.5]))
    assert rest[0, 1].argmax(-1).tolist() == [0, 0, 0]


def test_without_a_generator_a_plan_is_always_the_same_and_with_one_each_lane_draws_its_own():
    settings = Settings(candidates=6, refits=2)
    still = draws(BOX, settings, 2, 2, None, "cpu")
    assert torch.equal(still, draws(BOX, settings, 2, 2, None, "cpu")) and torch.equal(still[:, 0, 0], still[:, 1, 1])
    own = draws(BOX, settings, 2, 2, counter(0, 0, "noise"), "cpu")
    assert not torch.equal(own[:, 0, 0], own[:, 1, 1]) and not bool(own[..., 0, :, :].any())


def test_a_share_of_the_actions_is_drawn_from_all_there_are():
    settings, actions = Settings(candidates=8, refits=1, plan_steps=1), DiscreteActions(2)
    best = lambda plans: plans[..., 0, 1]  # noqa: E731
    blank = actions.first(50, 40, 1, "cpu").mean
    first = torch.ones(50, 40, dtype=torch.bool)
    found = [
        acted(actions, settings, blank, first, best, counter(0, 0, "a"), random_share=share)[0].float().mean()
        for share in (0, 1)
    ]
    assert found[0] > 0.7 and abs(float(found[1]) - 0.5) < 0.04


def test_actions_without_bounds_are_refused():
    with pytest.raises(qs.UsageError, match=r"mpc: action space .*: a planner takes Discrete, or Box with bounds"):
        actions_for("mpc", spaces.Box(0, float("inf"), (2,)))
    with pytest.raises(qs.UsageError, match="a planner takes Discrete, or Box with bounds"):
        actions_for("mpc", spaces.MultiDiscrete([2, 3]))
