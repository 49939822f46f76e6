"""Several inner steps: the rate of the later ones, wherever they are made, and an outer objective that scores every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probes import HiddenButton, HiddenLedge
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.algorithms.gradient.maml import divergence, improvement
from quickstudy.data.rollout import Lifetime
from quickstudy.data.session import Session
from quickstudy.nets.distributions import Categorical
from quickstudy.parts.collecting import collected_episodes
from quickstudy.parts.gradient import Inner, Samples, Start, adapted, collected_stages, outcomes, samples_of, weights_at
from quickstudy.work import InProcess

SMALL = {"meta_batch_size": 3, "lanes": 4, "hidden_size": 6}
LEARNERS: dict[str, Any] = {"maml": qs.MAML, "promp": qs.ProMP}


def make(name: str, tasks: Any = None, **options: Any) -> Any:
    learner = LEARNERS[name]
    options = SMALL | options
    return learner(tasks or qs.tasks.make("point-navigation", max_episode_steps=4), learner.Config(**options), seed=1)


@pytest.mark.parametrize("name", LEARNERS)
def test_steps_after_the_first_are_made_at_a_share_of_its_rate(name: str):
    """On the same episodes: the first step is the same, and each later one that of an agent with a smaller rate."""
    whole, quarter = make(name, inner_steps=3), make(name, inner_steps=3, later_rate_share=0.25)
    stages, _ = collected_stages(InProcess(whole.tasks), whole, whole.inner, 3, 3)
    theirs, ours = (weights_at(learner.inner, whole.start, stages) for learner in (whole, quarter))
    smaller = {key: 0.25 * rate for key, rate in whole.start.rates.items()}
    for step in (1, 2):
        there = Start(ours[step][0], smaller)
        alone = adapted(whole.inner, there, stages[step], 0).weights
        assert all(torch.equal(alone[key], ours[step + 1][0][key]) for key in alone)
    for key, first in theirs[1][0].items():
        assert torch.equal(first, ours[1][0][key])
        torch.testing.assert_close(4 * (ours[2][0][key] - first), theirs[2][0][key] - first, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_agents_adapt_at_the_rates_with_which_they_were_trained(name: str):
    """Lifetimes fold `adapt`, training folds the inner step: from the same episodes they come to the same weights."""
    learner = make(name, inner_steps=3, later_rate_share=0.3, inner_rate=2.0)
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, 4)
    episodes = collected_episodes(InProcess(learner.tasks), learner, life, 3)
    policy = learner.explorer()
    for experience in episodes[:-1]:
        policy = learner.adapt(policy, experience)
    trained, axis = weights_at(learner.inner, learner.start, [samples_of(learner.inner, each) for each in episodes])[-1]
    assert axis == policy.axis == 0
    assert all(torch.equal(policy.start.weights[key], weight) for key, weight in trained.items())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_stored_session_knows_that_its_next_step_is_a_later_one(name: str, tmp_path: Path):
    """With a share of zero it adapts once in its life, the first time."""
    agent = make(name, qs.NativeTasks(HiddenButton()), lanes=2, later_rate_share=0.0, inner_rate=5.0)

    def live(session: Session) -> Tensor:
        for _ in range(agent.lanes):
            session.feedback(float(session.act(0) == 1), truncated=True)
        return session._policy.start.weights["policy.4.bias"]

    first, session = agent.start.weights["policy.4.bias"], agent.session(seed=3)
    after = live(session)
    for _ in range(3):  # until both buttons were pressed in one round
        if torch.equal(after[0], first):
            session.new_task()
            after = live(session)
    assert not torch.equal(after[0], first)
    session.save(tmp_path / "session.safetensors")
    again = Session.restore(tmp_path / "session.safetensors", agent)
    assert all(torch.equal(live(each), after) for each in (session, again, session, again))


REWARDS, RATE = torch.tensor([1.0, 0.2, -0.7], dtype=torch.float64), 1.3


class Logits(nn.Module):
    """The logits of three arms."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.logits


def every_arm(behaviour: Tensor, weight: Tensor) -> Samples:
    """Each arm once, with what it pays; `weight` is what each stands for, as the log-probability of having been pulled."""
    arms, ones = torch.arange(3)[None, :, None], torch.ones(1, 3, 1, dtype=torch.bool)
    parameters = behaviour.expand(1, 3, 1, 3)
    pays = REWARDS[None, :, None]
    return Samples(torch.ones_like(parameters), arms, weight.log()[None, :, None], parameters, pays, ones, ones)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_gradient_of_all_stages_is_that_of_their_mean_return(last: int):
    """Softmax bandit: each arm once with ratios over 1/3 is an exact expectation, in the inner steps and in the objective."""
    weights = {"logits": torch.tensor([0.4, -0.3, 0.1], dtype=torch.float64, requires_grad=True)}
    net: Any = Logits()
    inner = Inner(None, net, Categorical(3), "step", False, 1.0, 1.0, 0.5)  # type: ignore[arg-type]
    start = Start(weights, {"logits": torch.tensor(RATE, dtype=torch.float64)})
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    stages = [every_arm(weights["logits"].detach(), uniform)] * 3

    def mean_return(logits: Tensor) -> Tensor:
        """sum r_a p_a over stages, after steps theta' = theta + alpha p (r - sum r p)."""
        found = []
        for rate in (RATE, RATE / 2, 0.0):
            p = logits.softmax(0)
            found.append(p @ REWARDS)
            logits = logits + rate * p * (REWARDS - found[-1])
        return torch.stack(found[-last:]).mean()

    parameters = outcomes(inner, start, stages, last)
    value = improvement(Categorical(3), parameters, stages[-last:])
    [slope] = torch.autograd.grad(value, list(weights.values()))
    point, small = weights["logits"].detach(), 1e-5
    truth = [(mean_return(point + small * e) - mean_return(point - small * e)) / (2 * small) for e in torch.eye(3).double()]
    torch.testing.assert_close(value, mean_return(point))
    torch.testing.assert_close(slope, torch.stack(truth), rtol=1e-7, atol=1e-9)


def test_a_trust_region_over_all_stages_bounds_their_mean_divergence():
    learner = make("maml", inner_steps=2, outer_stages="all", cg_damping=1e-6, max_kl=1e-3)
    stages, _ = collected_stages(InProcess(learner.tasks), learner, learner.inner, 3, 2)
    moved = learner.trust_region(stages)["train/approx_kl"]
    parameters = learner.outcomes(learner.learned, stages)
    assert len(parameters) == 3
    assert divergence(learner.distribution, parameters, stages).item() == pytest.approx(moved, abs=1e-6)
    # the quadratic model holds for so short a step: its length is what was asked for, up to a cut or two of the line search
    assert 0.6e-3 < moved <= 1e-3


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_stages_whose_episodes_end_early_are_scored_together(outer: Any):
    """Episodes of a stage may be longer than those of another one, by rows that nobody lived."""
    learner = make("maml", qs.NativeTasks(HiddenLedge()), outer=outer, outer_stages="all", cg_damping=0.1)
    other = make("maml", qs.NativeTasks(HiddenLedge()), outer=outer, outer_stages="all", cg_damping=0.1)
    stages, _ = collected_stages(InProcess(learner.tasks), learner, learner.inner, 3, 1)
    first = stages[0]
    longer = Samples(*(torch.cat([part, part[:, :, :2]], dim=2) for part in first))
    longer.valid[:, :, first.valid.shape[2] :] = False
    for each, found in ((learner, stages), (other, [longer, stages[1]])):
        each.trust_region(found) if outer == "trpo" else each.proximal(found)
    for key, weight in learner.learned.items():
        torch.testing.assert_close(weight, other.learned[key], rtol=1e-3, atol=1e-5)
