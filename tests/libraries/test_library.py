"""Libraries: identities with their members, exact posteriors, and bounds that somebody has proved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import pytest
import torch
from members import Alone, Fixed, sure_of  # pyright: ignore[reportMissingImports]
from small import TINY
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.data.rollout import Lifetime, Plan, collect, live
from quickstudy.errors import UsageError
from quickstudy.libraries.foresight import beta_arms, foresight_of
from quickstudy.libraries.rules import Bayes, Exp4, Played, Praise
from quickstudy.ops.tree import tensors_in, tree_map, within
from quickstudy.protocol import Agent, Memory, Percept, Shard, TaskDistribution, begin_trial
from quickstudy.work import LocalSite

BANDIT = qs.tasks.make("bandit", arms=3, pulls=4, episodes_per_trial=2)
POINT = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=2)


def learner(name: str, tasks: TaskDistribution, seed: int = 0) -> Any:
    entry = ALGORITHMS[name]
    return entry.make(tasks, entry.config(**TINY[name]), seed=seed)


@dataclass(frozen=True)
class Given:
    """Weights that never change."""

    weights: Tensor
    best_only: bool = False

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Tensor, Memory]:
        return self.weights.expand(*percept.first.shape, -1), memory


def weighed(library: Any, rule: Any) -> Any:
    library.rule = rule
    return library


def lived(agent: Agent, tasks: TaskDistribution, count: int = 6, greedy: bool = False) -> list[Any]:
    """All of some trials, episode by episode."""
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, tasks.episodes_per_trial, greedy)
    return list(live(LocalSite(tasks), life, Shard(3, 0, 0, count, "test")))


def told(step: tuple[int, float] | None, lead: tuple[int, ...] = (1, 1)) -> Percept:
    """What a bandit's policy sees after a pull of an arm that has paid so much."""
    percept = begin_trial(torch.zeros(lead, dtype=torch.long), BANDIT.action_space)
    if step is None:
        return percept
    arm, reward = step
    return percept._replace(
        first=torch.zeros(lead, dtype=torch.bool), action=torch.full(lead, arm), reward=torch.full(lead, reward)
    )


@pytest.mark.parametrize("weights", ["exp4", "greedy", "bayes", "reuse"])
@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("name", ["rl2", "rl3", "maml", "varibad", "pearl", "multi-task"])
def test_a_library_of_one_is_that_member_bit_for_bit(name: str, weights: Any, greedy: bool):
    agent = learner(name, BANDIT)
    library = qs.Library(BANDIT, [agent], qs.Weighing(weights=weights))
    for alone, inside in zip(lived(agent, BANDIT, greedy=greedy), lived(library, BANDIT, greedy=greedy), strict=True):
        assert torch.equal(alone.act.action, inside.act.action)
        assert torch.equal(alone.transition.reward, inside.transition.reward)
        assert (inside.act.notes["weights"] == 1).all()
        for mine, its in zip(alone.end_memory.items(), within("member 0 ", inside.end_memory).items(), strict=True):
            assert mine[0] == its[0] and torch.equal(mine[1], its[1])
        if alone.act.log_prob is not None and weights != "greedy":
            assert torch.equal(alone.act.log_prob, inside.act.log_prob)


@pytest.mark.parametrize("tasks", [BANDIT, POINT], ids=["discrete", "continuous"])
def test_weights_that_are_sure_of_a_member_are_that_member(tasks: TaskDistribution):
    agents = [learner("rl2", tasks), learner("maml", tasks), learner("rl2", tasks, seed=1)]
    for number, agent in enumerate(agents):
        library = weighed(qs.Library(tasks, agents), Given(torch.eye(3)[number]))
        lanes = Lifetime(agent.explorer(), agent.adapt, library.lanes, 2, greedy=True)
        alone = list(live(LocalSite(tasks), lanes, Shard(3, 0, 0, 6, "test")))
        for mine, its in zip(alone, lived(library, tasks, greedy=True), strict=True):
            assert torch.equal(mine.act.action, its.act.action)


def test_what_a_member_adapts_on_is_what_it_has_lived():
    """Of two agents that take what they noted, each gets its own: MAML's ratio of likelihoods, RL2's memory."""
    agents = [learner("maml", BANDIT), learner("maml", BANDIT, seed=1)]
    [episode, _] = lived(qs.Library(BANDIT, agents), BANDIT)
    policy = qs.Library(BANDIT, agents).explorer()
    for number, agent in enumerate(agents):
        seen = policy.seen_by(number, episode)
        explorer = agent.explorer()
        act, _ = explorer.act(tree_map(lambda value: value[:, :, 0], episode.percept), {}, None)
        own = explorer.distribution.log_prob(act.notes["parameters"], episode.act.action[:, :, 0])
        assert seen.act.log_prob is not None and torch.allclose(seen.act.log_prob[:, :, 0], own)
        assert torch.equal(seen.act.notes["parameters"][:, :, 0], act.notes["parameters"])


@pytest.mark.parametrize("rule", ["bayes", "exp4", "praise"])
def test_the_order_of_members_permutes_the_weights(rule: str):
    priors = [((8.0, 2.0), (1.0, 4.0), (1.0, 1.0)), ((1.0, 4.0), (8.0, 2.0), (1.0, 1.0)), ((1.0, 1.0),) * 3]
    members = [Alone(BANDIT, Fixed(torch.randn(2, 3))) for _ in range(3)]
    found = {}
    for order in permutations(range(3)):
        rules = {
            "bayes": Bayes(tuple(beta_arms(priors[number]) for number in order)),
            "exp4": Exp4(3),
            "praise": Praise(3),
        }
        library = weighed(qs.Library(BANDIT, [members[number] for number in order]), rules[rule])
        *_, last = lived(library, BANDIT, greedy=True)
        weights = last.act.notes["weights"]
        found[order] = torch.stack([weights[..., order.index(number)] for number in range(3)], -1)
    first, *others = found.values()
    assert (first - first.mean(-1, keepdim=True)).abs().max() > 0.01
    assert all(torch.allclose(first, other, atol=1e-6) for other in others)


def beta(a: float, b: float) -> float:
    return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))


def test_bayes_weights_are_the_exact_posterior_on_two_families_of_bandits():
    """Every way in which four pulls of two arms may go; the likelihood of all of it by Beta functions, not step by step."""
    priors = [((3.0, 1.0), (1.0, 2.0)), ((1.0, 1.0), (2.0, 1.0))]
    rule = Bayes(tuple(map(beta_arms, priors)))
    for story in product(product(range(2), [0.0, 1.0]), repeat=4):
        memory, weights = rule.initial_memory(1, 1), torch.zeros(1)
        for step in (None, *story):
            weights, memory = rule.weigh(told(step), Played(torch.zeros(1, 1, 2), torch.zeros(1, 1)), memory)
        likelihoods = []
        for prior in priors:
            likelihood = 1.0
            for arm, (a, b) in enumerate(prior):
                paid = sum(reward for pulled, reward in story if pulled == arm)
                failed = sum(1 - reward for pulled, reward in story if pulled == arm)
                likelihood *= beta(a + paid, b + failed) / beta(a, b)
            likelihoods.append(likelihood)
        assert weights[0, 0].tolist() == pytest.approx([each / sum(likelihoods) for each in likelihoods], rel=1e-5)


def test_the_floor_keeps_what_was_impossible_and_without_it_that_is_for_ever():
    """A bandit that pays 0.5 is none of Bernoulli's; the floor lets its weight come back when rewards are 0 and 1 again."""
    families = [foresight_of(qs.tasks.make("bandit", arms=3, payoff=kind), "cpu") for kind in ("bernoulli", "gaussian")]
    nothing = Played(torch.zeros(1, 1, 2), torch.zeros(1, 1))
    for floor, back in ((0.0, False), (0.05, True)):
        rule = Bayes(tuple(each for each in families if each), floor)
        memory = rule.initial_memory(1, 1)
        weights, memory = rule.weigh(told((0, 0.5)), nothing, memory)
        assert weights[0, 0].tolist() == pytest.approx([floor / 2, 1 - floor / 2])
        weights, memory = rule.weigh(told((0, 1.0)), nothing, memory)
        # without a floor neither family is possible any longer: the weights stay
        assert bool(weights[0, 0, 0] > 0.9) == back and bool(weights.isfinite().all())


def test_exp4_by_hand():
    rule = Exp4(2, floor=0.2, low=-1.0, high=1.0)
    played = Played(torch.tensor([[[0.6, 0.1]]]).log(), torch.tensor([[0.3]]).log())
    weights, memory = rule.weigh(told(None), played, rule.initial_memory(1, 1))
    assert weights[0, 0].tolist() == [0.5, 0.5]
    weights, _ = rule.weigh(told((1, 0.5)), played, memory)
    gains = [0.1 * 0.75 * 0.6 / 0.3, 0.1 * 0.75 * 0.1 / 0.3]
    share = 1 / (1 + math.exp(gains[1] - gains[0]))
    assert weights[0, 0].tolist() == pytest.approx([0.8 * share + 0.1, 0.8 * (1 - share) + 0.1])


def test_exp4_stays_within_its_bound_on_an_adversarial_bandit():
    """Auer et al. 2002, corollary 3.2's constant for N members: 2.63 sqrt(g N ln N), g at least the best member's gain.

    Arms take turns in paying, so that no arm is good for long; one member knows the turns, one an arm, two are wrong.
    """
    steps, lanes, arms, g = 1500, 64, 4, 1500.0
    turns = [step // 50 % arms for step in range(steps)]
    advice = [turns, [0] * steps, [(arm + 1) % arms for arm in turns], [(arm + 2) % arms for arm in turns]]
    members = [Alone(BANDIT4, Fixed(sure_of(arm, arms))) for arm in advice]
    floor = min(1.0, math.sqrt(4 * math.log(4) / ((math.e - 1) * g)))
    policy = qs.Library(BANDIT4, members, qs.Weighing(floor=floor)).explorer()
    memory, percept, gain = policy.initial_memory(1, lanes), told(None, (1, lanes)), torch.zeros(lanes)
    draws = torch.Generator().manual_seed(0)
    for step in range(steps):
        act, memory = policy.act(percept, memory, draws)
        reward = (act.action == turns[step]).float()
        gain += reward[0]
        percept = told((0, 0.0), (1, lanes))._replace(action=act.action, reward=reward)
    regret = steps - float(gain.mean())
    assert 0 < regret <= 2.63 * math.sqrt(g * 4 * math.log(4))


BANDIT4 = qs.tasks.make("bandit", arms=4)


def test_the_mixture_is_exact_for_discrete_actions_and_for_continuous_ones():
    for tasks in (BANDIT, POINT):
        agents = [learner("rl2", tasks), learner("maml", tasks), learner("multi-task", tasks)]
        shares = torch.tensor([0.2, 0.5, 0.3])
        library = weighed(qs.Library(tasks, agents), Given(shares))
        [episode, _] = lived(library, tasks)
        total = torch.zeros_like(episode.act.log_prob)
        for number, share in enumerate(shares):
            own = within(f"member {number} ", episode.act.notes)
            distribution = library.explorer().distribution
            total += share * distribution.log_prob(own["parameters"], episode.act.action).exp()
        assert torch.allclose(episode.act.log_prob, total.log(), atol=1e-5)


def test_actions_are_drawn_from_the_mixture():
    members = [Alone(BANDIT, Fixed(torch.tensor([shares]).log())) for shares in ([0.7, 0.2, 0.1], [0.1, 0.1, 0.8])]
    policy = weighed(qs.Library(BANDIT, members), Given(torch.tensor([0.25, 0.75]))).explorer()
    act, _ = policy.act(told(None, (1, 40_000)), policy.initial_memory(1, 40_000), torch.Generator().manual_seed(0))
    shares = torch.bincount(act.action.flatten(), minlength=3) / 40_000
    assert torch.allclose(shares, torch.tensor([0.25, 0.125, 0.625]), atol=0.01)
    best, _ = policy.act(told(None), policy.initial_memory(1, 1), None)
    assert best.action.item() == 2


def test_the_literal_form_takes_the_greatest_sum_and_is_never_told_of_what_it_does_not_try():
    """By hand: what has paid is praised; a member whose arm is better is never found out, which exp4's floor does."""
    members = [Alone(BANDIT, Fixed(torch.tensor([shares]).log())) for shares in ([0.6, 0.3, 0.1], [0.3, 0.1, 0.6])]
    policy = qs.Library(BANDIT, members, qs.Weighing(weights="greedy")).explorer()
    act, memory = policy.act(told(None), policy.initial_memory(1, 1), torch.Generator().manual_seed(0))
    assert act.action.item() == 0 and act.log_prob is None  # 0.9, 0.4 and 0.7
    act, memory = policy.act(told((0, 1.0)), memory, torch.Generator().manual_seed(0))
    assert act.notes["weights"][0, 0].tolist() == pytest.approx([2 / 3, 1 / 3])
    for _ in range(20):
        act, memory = policy.act(told((int(act.action.item()), 0.1)), memory, torch.Generator().manual_seed(0))
        assert act.action.item() == 0


def test_lanes_of_a_batch_are_what_each_is_alone():
    """Episodes end at different pulls for none of them; the weights of a lane depend on its own past alone."""
    members = [Alone(BANDIT, Fixed(torch.randn(3, 3))) for _ in range(3)]
    rules = [
        Bayes((beta_arms(((3.0, 1.0),) * 3), beta_arms(((1.0, 3.0),) * 3), beta_arms(((1.0, 1.0),) * 3))),
        Exp4(3),
        Praise(3),
    ]
    stories = torch.randint(3, (5, 4, 6)), torch.randint(2, (5, 4, 6)).float()
    for rule in rules:
        policy = weighed(qs.Library(BANDIT, members), rule).explorer()

        def weights(action: Tensor, reward: Tensor, policy: Any = policy) -> Tensor:
            lead = action.shape[:2]
            memory, percept, found = policy.initial_memory(*lead), told(None, lead), []
            for step in range(action.shape[2]):
                act, memory = policy.act(percept, memory, None)
                percept = told((0, 0.0), lead)._replace(action=action[..., step], reward=reward[..., step])
                found.append(act.notes["weights"])
            return torch.stack(found, 2)

        together = weights(*stories)
        for task, lane in product(range(5), range(4)):
            own = (slice(task, task + 1), slice(lane, lane + 1))
            assert torch.allclose(together[own], weights(*(each[own] for each in stories)), atol=1e-6)


ARMS = torch.tensor([[0.9, 0.2], [0.1, 0.7]])
"""Of two tasks, what each arm pays with certainty of chance."""


def best_possible(weights: tuple[float, float], left: int) -> float:
    """The Bayes-optimal value of two tasks with such chances, over so many pulls, by trying all."""
    if left == 0:
        return 0.0
    values = []
    for arm in range(2):
        value = 0.0
        for paid in (0, 1):
            joint = [w * (float(ARMS[t, arm]) if paid else 1 - float(ARMS[t, arm])) for t, w in enumerate(weights)]
            if sum(joint) > 0:
                after = (joint[0] / sum(joint), joint[1] / sum(joint))
                value += sum(joint) * (paid + best_possible(after, left - 1))
        values.append(value)
    return max(values)


def test_the_meta_value_is_that_of_being_told_above_qmdp_above_the_best_possible():
    """V_meta >= max_a sum_i w_i Q_i(a) >= the Bayes-optimal value, all alike where one is certain of the task."""
    pulls = 6
    tasks = qs.tasks.make("bandit", arms=2, pulls=pulls)
    values = torch.arange(pulls, 0, -1.0)
    members = [Alone(tasks, Fixed(sure_of([int(means.argmax())], 2), values * means.max())) for means in ARMS]
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        weights = (share, 1 - share)
        policy = weighed(qs.Library(tasks, members), Given(torch.tensor(weights))).explorer()
        memory = policy.initial_memory(1, 1)
        for left in range(pulls, 0, -1):
            act, memory = policy.act(told(None), memory, None)
            meta = act.notes["value"].item()
            later = [(left - 1) * float(means.max()) for means in ARMS]
            qmdp = max(sum(w * (float(ARMS[t, arm]) + later[t]) for t, w in enumerate(weights)) for arm in range(2))
            best = best_possible(weights, left)
            assert meta >= qmdp - 1e-5 and qmdp >= best - 1e-5
            if share in (0.0, 1.0):
                assert meta == pytest.approx(qmdp, rel=1e-5) and qmdp == pytest.approx(best, rel=1e-5)
            elif left > 1:
                assert meta > qmdp + 0.01


def test_a_value_is_told_in_the_units_of_rewards_and_only_where_all_members_tell_one():
    agents = [learner("rl2", BANDIT), learner("multi-task", BANDIT)]
    for agent in agents:
        agent.scale = agent.scale._replace(
            mean=torch.tensor(5.0).double(), variance=torch.tensor(4.0).double(), weight=torch.tensor(1.0).double()
        )
    [episode, _] = lived(weighed(qs.Library(BANDIT, agents), Given(torch.tensor([0.4, 0.6]))), BANDIT)
    own = [within(f"member {number} ", episode.act.notes)["value"] for number in range(2)]
    assert torch.allclose(episode.act.notes["value"], 0.4 * (5 + 2 * own[0]) + 0.6 * (5 + 2 * own[1].double()))
    [episode, _] = lived(qs.Library(BANDIT, [*agents, learner("maml", BANDIT)]), BANDIT)
    assert "value" not in episode.act.notes
    scaled = qs.Normalised(learner("rl2", BANDIT), qs.Normalisation(normalise_reward=True))
    [episode, _] = lived(qs.Library(BANDIT, [scaled]), BANDIT)
    assert "value" not in episode.act.notes


def test_any_methods_share_a_library_and_a_trial_goes_on_from_episode_to_episode():
    agents = [learner(name, BANDIT) for name in ("rl2", "varibad", "pearl", "maml", "rl3")] + [
        qs.oracle("thompson-sampling", BANDIT)
    ]
    episodes = lived(qs.Library(BANDIT, agents), BANDIT)
    first, second = episodes
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            tensors_in(within("rule ", first.end_memory)), tensors_in(within("rule ", second.start_memory)), strict=True
        )
    )
    assert (second.end_memory["rule gain"] >= second.start_memory["rule gain"]).all()
    assert second.end_memory["rule gain"].max() > 0
    assert within("member 0 ", second.start_memory)["step"].unique().tolist() == [4.0]


def test_a_sampled_action_of_one_that_tells_no_distribution_is_its_advice():
    """Thompson sampling notes nothing: it is sure of the arm that it has drawn."""
    agents: list[Agent] = [qs.oracle("thompson-sampling", BANDIT), Alone(BANDIT, Fixed(torch.zeros(1, 3)))]
    plan = Plan(qs.Library(BANDIT, agents).explorer(), 2, 8, 2)
    experience = collect(LocalSite(BANDIT), plan, Shard(0, 0, 0, 16, "test"))
    assert experience.act.log_prob is None
    told_of = experience.act.notes["member 0 log_prob"]
    assert set(told_of.unique().tolist()) == {0.0, -torch.inf}
    assert torch.allclose(experience.act.notes["member 1 log_prob"], torch.tensor(1 / 3).log())


def test_what_cannot_be_a_library_is_refused_in_a_line():
    rl2 = learner("rl2", BANDIT)
    for members, weighing, tasks, says in [
        ([], {}, BANDIT, "it needs at least one member"),
        ([rl2], {}, BANDIT4, "member 0, rl2, has action space Discrete\\(3\\), the tasks have Discrete\\(4\\)"),
        ([learner("rl2", POINT)], {"weights": "greedy"}, POINT, "greedy is for Discrete actions"),
        (
            [learner("rl2", POINT)],
            {"weights": "bayes"},
            POINT,
            "nobody has reckoned a likelihood of the family of member 0, rl2",
        ),
        ([rl2], {"floor": 0.0}, BANDIT, "floor is 0, for exp4 it must be more than 0"),
        ([rl2], {"weights": "greedy", "floor": 0.1}, BANDIT, "greedy has no floor"),
        ([rl2], {"measured_tasks": 0}, BANDIT, "measured_tasks is 0, it must be at least 1"),
        ([rl2], {"reward_low": 1.0}, BANDIT, "reward_low is 1, it must be less"),
    ]:
        with pytest.raises(UsageError, match=says):
            qs.Library(tasks, members, qs.Weighing(**weighing))
    with pytest.raises(UsageError, match="foresights are for bayes, or reuse by steps, one for each of 1 members"):
        qs.Library(BANDIT, [rl2], foresights=[beta_arms(((1.0, 1.0),) * 3)])
