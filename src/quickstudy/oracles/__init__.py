"""The best that can be done, and the classics in between: policies that need no training, behind the same evaluator.

The list is closed, as are those of algorithms and of task families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from quickstudy.arguments import checked, described, shown
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.families import describe
from quickstudy.families.classic.bandit import Bandit
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.oracles import (
    bandit_optimum,
    bandits,
    glucose,
    grid,
    key_door,
    mission,
    planner,
    poker,
    tabular,
    traffic_signal,
)
from quickstudy.oracles.agent import Oracle
from quickstudy.parts.planner import planner_for
from quickstudy.protocol import TaskDistribution
from quickstudy.tasks.informed import Informed
from quickstudy.tasks.native import NativeTasks


@checked
@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """An oracle that there is nothing to tell."""


@checked
@dataclass(frozen=True, kw_only=True)
class EpsilonGreedyOptions:
    """What epsilon-greedy can be told."""

    epsilon: float = 0.1
    """The chance of pulling any arm."""


@checked
@dataclass(frozen=True, kw_only=True)
class UCB1Options:
    """What UCB1 can be told."""

    exploration: float = 0.2
    """Weight of the bonus: 1 as proved by Auer et al. 2002, less does better over short trials."""


@checked
@dataclass(frozen=True, kw_only=True)
class GittinsOptions:
    """What the Gittins index can be told."""

    gamma: float | None = None
    """Discount factor; without it 1 - 2 / pulls, so that the discounted future is half as long as the trial."""


@checked
@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """What posterior sampling of MDPs can be told."""

    prior_mean: float = 1.0
    """What an untried reward is taken to be: 1 is the truth, 0 the prior of the published figures."""


@checked
@dataclass(frozen=True, kw_only=True)
class OptimisticOptions(SamplingOptions):
    """What optimistic posterior sampling can be told."""

    samples: int = 10
    """MDPs drawn for an episode."""


class Entry(NamedTuple):
    """What the registry knows of an oracle."""

    options: type[Any]
    make: Mapping[str, Callable[[NativeTasks, Any, Any], Oracle]]
    """For each family that it is for, by name: (tasks, the family's options, the oracle's options) -> agent."""
    summary: str


def pulling(name: str, scores: Callable[[Bandit, Any], bandits.Scores], only: str = "") -> Any:
    """What makes a bandit strategy; `only` names the one payoff it is for."""

    def make(tasks: NativeTasks, family: Bandit, options: Any) -> Oracle:
        if only and family.payoff != only:
            raise UsageError(f"{name} is for {only} payoffs, not {family.payoff}; thompson-sampling takes both")
        return Oracle(name, tasks, bandits.IndexPolicy(family.arms, scores(family, options)))

    return {"bandit": make}


def bandit_optimal(tasks: NativeTasks, family: Bandit, options: Any) -> Oracle:
    """The exact optimum by dynamic programming."""
    if family.payoff != "bernoulli":
        raise UsageError(f"bayes-optimal is for bernoulli payoffs, not {family.payoff}; thompson-sampling takes both")
    optimum = bandit_optimum.solve(family.arms, family.pulls * family.episodes_per_trial)
    policy = bandits.IndexPolicy(family.arms, bandit_optimum.OptimalScores(optimum))
    return Oracle("bayes-optimal", tasks, policy, f"the exact optimum of a trial is {optimum.value:.3f}")


def grid_optimal(tasks: NativeTasks, family: GridNavigation, options: Any) -> Oracle:
    """The exact optimum by search over walks, or the best walk found and a bound."""
    walk = grid.best_walk(family)
    says = f"the exact optimum of a trial is {walk.value:.3f}"
    if not walk.exact:
        says = (
            f"this grid is too large to search whole: the walk found is worth {walk.value:.3f} a trial, and no policy more than"
            f" {walk.bound:.3f}"
        )
    return Oracle("bayes-optimal" if walk.exact else "near-bayes-optimal", tasks, grid.BayesOptimalPolicy(family, walk), says)


def best_mean(tasks: NativeTasks, family: Bandit, options: Any) -> Oracle:
    """Told the arms: pulls the best."""
    says = f"its expected return is {family.pulls * family.arms / (family.arms + 1):.3f} an episode"
    return Oracle("optimal", Informed(tasks), bandits.InformedPolicy(family.arms), says if family.payoff == "bernoulli" else "")


ORACLES: dict[str, Entry] = {
    "bayes-optimal": Entry(
        NoOptions,
        {"bandit": bandit_optimal, "grid-navigation": grid_optimal},
        "no agent that must find out does better: exact for few arms and pulls, and for small grids",
    ),
    "optimal": Entry(
        NoOptions,
        {
            "bandit": best_mean,
            "tabular-mdp": lambda tasks, family, options: Oracle("optimal", Informed(tasks), tabular.InformedPolicy(family)),
            "grid-navigation": lambda tasks, family, options: Oracle("optimal", Informed(tasks), grid.InformedPolicy(family)),
            "key-door": lambda tasks, family, options: Oracle("optimal", Informed(tasks), key_door.InformedPolicy(family)),
            "mission": lambda tasks, family, options: Oracle("optimal", Informed(tasks), mission.InformedPolicy(family)),
        },
        "the optimal policy of the task, told which it is: no agent does better",
    ),
    "gittins": Entry(
        GittinsOptions,
        pulling(
            "gittins",
            lambda family, options: bandits.gittins(
                max(0.5, 1 - 2 / family.pulls) if options.gamma is None else options.gamma,
                family.pulls * family.episodes_per_trial,
            ),
            only="bernoulli",
        ),
        "the arm with the highest Gittins index (Gittins 1979)",
    ),
    "thompson-sampling": Entry(
        NoOptions,
        pulling("thompson-sampling", lambda family, options: bandits.thompson(family.payoff)),
        "the arm that is best in a draw from the posterior (Thompson 1933)",
    ),
    "ucb1": Entry(
        UCB1Options,
        pulling("ucb1", lambda family, options: bandits.ucb1(options.exploration)),
        "the arm with the highest upper confidence bound (Auer et al. 2002)",
    ),
    "greedy": Entry(
        NoOptions,
        {
            **pulling("greedy", lambda family, options: bandits.greedy(family.payoff)),
            "tabular-mdp": lambda tasks, family, options: Oracle("greedy", tasks, tabular.SamplingPolicy(family, samples=0)),
        },
        "what is best if the posterior's mean is the truth",
    ),
    "replanning": Entry(
        NoOptions,
        {
            "tabular-mdp": lambda tasks, family, options: Oracle(
                "replanning", tasks, tabular.ReplanningPolicy(planner_for("replanning", tasks, prior_mean=1.0))
            )
        },
        "as greedy, but planned anew at every step, for those that are left in the episode",
    ),
    "planner": Entry(
        planner.PlannerOptions,
        {name: partial(planner.planned, state_of=state_of) for name, state_of in planner.STATES.items()},
        "plans at every step in the true dynamics, told the task's parameters or with their mean",
    ),
    "epsilon-greedy": Entry(
        EpsilonGreedyOptions,
        pulling("epsilon-greedy", lambda family, options: bandits.epsilon_greedy(family.payoff, options.epsilon)),
        "as greedy, but now and then any arm",
    ),
    "psrl": Entry(
        SamplingOptions,
        {
            "tabular-mdp": lambda tasks, family, options: Oracle(
                "psrl", tasks, tabular.SamplingPolicy(family, options.prior_mean)
            )
        },
        "in each episode the optimal policy of an MDP drawn from the posterior (Osband et al. 2013)",
    ),
    "optimistic-psrl": Entry(
        OptimisticOptions,
        {
            "tabular-mdp": lambda tasks, family, options: Oracle(
                "optimistic-psrl", tasks, tabular.SamplingPolicy(family, options.prior_mean, options.samples)
            )
        },
        "as psrl, with the best value of each action over several draws (Osband & Van Roy 2017)",
    ),
    "posterior-sampling": Entry(
        NoOptions,
        {
            "grid-navigation": lambda tasks, family, options: Oracle(
                "posterior-sampling", tasks, grid.PosteriorSamplingPolicy(family)
            )
        },
        "in each episode to a goal drawn from the posterior",
    ),
    "nearest": Entry(
        NoOptions,
        {"key-door": lambda tasks, family, options: Oracle("nearest", tasks, key_door.NearestPolicy(family))},
        "to the nearest cell where what is needed next may be; straight there once it is known",
    ),
    "equilibrium": Entry(
        poker.EquilibriumOptions,
        {"poker": poker.balanced},
        "loses to nobody, and wins little: in closed form for Kuhn's game, by CFR+ for Leduc",
    ),
    "best-response": Entry(
        poker.BestResponseOptions,
        {"poker": poker.responding},
        "wins the most that can be won of the opponent, or of training opponents without knowing which",
    ),
    "bayes-best-response": Entry(
        poker.BayesOptions,
        {"poker": poker.believing},
        "the best response, anew each hand, to what may be believed of the opponent (Southey et al. 2005)",
    ),
    "webster": Entry(
        traffic_signal.WebsterOptions,
        traffic_signal.rule("webster", traffic_signal.FixedPlan),
        "lights by a fixed plan (Webster 1958): one for all crossings, or for the demand of each",
    ),
    "actuated": Entry(
        traffic_signal.ActuatedOptions,
        traffic_signal.rule("actuated", traffic_signal.Actuated),
        "lights that stay green until the queue has cleared, with recall of phases whose detector is silent",
    ),
    "max-pressure": Entry(
        traffic_signal.MaxPressureOptions,
        traffic_signal.rule("max-pressure", traffic_signal.MaxPressure),
        "lights for the phase whose queues press most (Varaiya 2013), with hysteresis, since a change costs time",
    ),
    "basal-bolus": Entry(
        glucose.BasalBolusOptions,
        {"glucose": glucose.basal_bolus},
        "insulin as most patients dose it: one basal rate, and boluses for what is eaten and what is too high",
    ),
    "run-to-run": Entry(
        glucose.SettingsOptions,
        {"glucose": glucose.run_to_run},
        "basal-bolus whose settings are mended after each day (Palerm et al. 2008)",
    ),
    "pid": Entry(
        glucose.SettingsOptions,
        {"glucose": glucose.pid},
        "a controller of the basal rate (Steil et al. 2006), beside boluses by the rule",
    ),
}
"""Each name with what makes it."""

PRACTITIONERS: dict[str, str] = {"glucose": "basal-bolus", "poker": "best-response", "traffic-signal": "actuated"}
"""For each family of a field the rule by which it is done there: an oracle whose options have `settings`, which is
"population" for what suits most, and "told" for what suits the very task."""


def practitioner(tasks: TaskDistribution, settings: Literal["population", "told"]) -> Oracle | None:
    """The rule of the field that these tasks come from; None where there is none."""
    registered = describe(tasks)
    name = PRACTITIONERS.get(registered[0]) if registered else None
    return oracle(name, tasks, ORACLES[name].options(settings=settings)) if name else None


@checked
def oracle(name: str, tasks: TaskDistribution, options: Any = None) -> Oracle:
    """An oracle by name for a task distribution; UsageError for an unknown name, or one that isn't for these tasks."""
    if name not in ORACLES:
        raise UsageError(f"unknown oracle '{name}'; {did_you_mean(name, ORACLES)}")
    entry = ORACLES[name]
    registered = describe(tasks)
    family = registered[0] if registered else ""
    if not isinstance(tasks, NativeTasks) or family not in entry.make:
        here = [other for other, each in ORACLES.items() if isinstance(tasks, NativeTasks) and family in each.make]
        these = f"for these tasks there is {', '.join(here)}" if here else "for these tasks there is none"
        raise UsageError(f"{name} is for {' and '.join(entry.make)}; {these}")
    if options is not None and type(options) is not entry.options:
        raise UsageError(f"oracle: options is {shown(options)}, for {name} it must be {described(entry.options)}")
    return entry.make[family](tasks, tasks.dynamics, options or entry.options())
