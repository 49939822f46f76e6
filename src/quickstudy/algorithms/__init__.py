"""The one list of algorithms and baselines: an entry a method, whose module is imported when it is first used.

It is closed: a stored run can name only what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from quickstudy.errors import UsageError, did_you_mean
from quickstudy.families import found

if TYPE_CHECKING:  # what the public door opens on, for editors and type checkers
    from quickstudy.algorithms.baselines.multi_task import MultiTask as MultiTask
    from quickstudy.algorithms.baselines.multi_task_sac import MultiTaskSAC as MultiTaskSAC
    from quickstudy.algorithms.baselines.random import Random as Random
    from quickstudy.algorithms.belief.pearl import PEARL as PEARL
    from quickstudy.algorithms.belief.varibad import VariBAD as VariBAD
    from quickstudy.algorithms.gradient.es_maml import ESMAML as ESMAML
    from quickstudy.algorithms.gradient.maml import MAML as MAML
    from quickstudy.algorithms.gradient.norml import NoRML as NoRML
    from quickstudy.algorithms.gradient.promp import ProMP as ProMP
    from quickstudy.algorithms.gradient.reptile import Reptile as Reptile
    from quickstudy.algorithms.memory.recurrent_sac import RecurrentSAC as RecurrentSAC
    from quickstudy.algorithms.memory.rl2 import RL2 as RL2
    from quickstudy.algorithms.memory.rl3 import RL3 as RL3
    from quickstudy.algorithms.model.cadm import CaDM as CaDM
    from quickstudy.algorithms.model.grbal import GrBAL as GrBAL
    from quickstudy.algorithms.model.mpc import MPC as MPC
    from quickstudy.algorithms.model.rebal import ReBAL as ReBAL
    from quickstudy.protocol import Agent, Learner


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What is known of a learner before its module is imported."""

    place: str
    """Module under `algorithms`, and what in it makes the learner: (tasks, config, *, seed, device) -> learner."""
    summary: str
    """One line for lists."""
    extra: str | None = None
    """The optional packages that it needs."""
    observations: Literal["any", "vector", "discrete"] = "any"
    """Observation spaces that it takes: all, those that are vectors at once (no images, sounds or texts), or Discrete."""
    actions: Literal["any", "discrete or bounded", "discrete"] = "any"
    """Action spaces that it takes, of those that there are: all, Discrete and Box with bounds, or Discrete."""
    knows: Literal["trial", "task", "nothing"] = "trial"
    """What it can know of its task: what it lived on it, all of it as it is told, or nothing."""
    small: Mapping[str, Any]
    """Settings with which it learns a probe task in seconds."""
    least: Mapping[str, Any]
    """Settings beside these for tests of what holds whether anything is learnt or not."""
    shortfall: Mapping[str, float] = field(default_factory=dict)
    """By kind of actions, what it may lose against the optimum of what it can know, on probe tasks, where that is more than
    0.15; with the reason as a comment."""

    @property
    def make(self) -> Callable[..., Learner]:
        """What makes the learner."""
        return found(f"algorithms.{self.place}")

    @property
    def config(self) -> type[Any]:
        """The class of its settings."""
        return found(f"algorithms.{self.place.split(':')[0]}:Config")


@dataclass(frozen=True)
class Baseline:
    """What is known of an agent that needs no training."""

    place: str
    """Module under `algorithms`, and what in it makes the agent: (tasks, *, device) -> agent."""
    summary: str
    """One line for lists."""

    @property
    def make(self) -> Callable[..., Agent]:
        """What makes the agent."""
        return found(f"algorithms.{self.place}")


ALGORITHMS: dict[str, Algorithm] = {
    "rl2": Algorithm(
        place="memory.rl2:RL2",
        summary="a recurrent policy whose memory adapts over the episodes of a trial",
        small={"trials": 64, "hidden_size": 16, "learning_rate": 5e-3},
        least={"trials": 8, "n_epochs": 1, "minibatches": 2},
    ),
    "rl3": Algorithm(
        place="memory.rl3:RL3",
        summary="RL2 that is told what a planner makes of the trial so far, where observations are numbered",
        observations="discrete",
        actions="discrete",
        small={"trials": 64, "hidden_size": 16, "learning_rate": 5e-3},
        least={"trials": 8, "n_epochs": 1, "minibatches": 2},
    ),
    "recurrent-sac": Algorithm(
        place="memory.recurrent_sac:RecurrentSAC",
        summary="a recurrent policy, learnt off-policy from replayed trials: SAC or TD3",
        actions="discrete or bounded",
        small={
            "trials": 64,
            "updates": 4,
            "batch_size": 64,
            "hidden_size": 16,
            "learning_rate": 5e-3,
            "policy_rate": 5e-3,
            "temperature_rate": 5e-3,
            "gamma": 0.9,
            "tau": 0.05,
            "entropy_share": 0.1,
            "buffer_trials": 256,
        },
        least={"trials": 8, "updates": 2, "batch_size": 8},
        # it goes further to one side at first than it need to be told on which one the target is
        shortfall={"continuous": 0.3},
    ),
    "varibad": Algorithm(
        place="belief.varibad:VariBAD",
        summary="a policy on a belief that is learnt by predicting rewards of whole trials",
        small={
            "trials": 64,
            "hidden_size": 16,
            "learning_rate": 5e-3,
            "latent_size": 4,
            "belief_size": 16,
            "belief_rate": 1e-2,
            "belief_updates": 4,
        },
        least={"trials": 8, "n_epochs": 1, "minibatches": 2, "belief_updates": 2, "belief_batch": 8},
    ),
    "maml": Algorithm(
        place="gradient.maml:MAML",
        summary="first weights from which a few gradient steps adapt",
        small={
            "meta_batch_size": 20,
            "lanes": 20,
            "hidden_size": 16,
            "inner_steps": 2,
            "inner_rate": 0.2,
            "learn_inner_rate": True,
            "outer": "ppo",
            "learning_rate": 5e-3,
        },
        least={"meta_batch_size": 4, "lanes": 4, "n_epochs": 1},
        # a Gaussian explorer keeps the spread that its gradient step needs, and pays for it
        shortfall={"continuous": 0.35},
    ),
    "promp": Algorithm(
        place="gradient.promp:ProMP",
        summary="first weights from which gradient steps of low variance adapt, moved by several of PPO's steps at once",
        small={"meta_batch_size": 20, "hidden_size": 16, "inner_steps": 2, "inner_rate": 0.3, "learning_rate": 5e-3},
        least={"meta_batch_size": 4, "lanes": 4, "n_epochs": 1},
        # as MAML's: a Gaussian explorer keeps the spread that its gradient step needs
        shortfall={"continuous": 0.35},
    ),
    "reptile": Algorithm(
        place="gradient.reptile:Reptile",
        summary="first weights that move to where a few ordinary steps on each task lead; parameter averaging",
        small={"hidden_size": 16, "inner_steps": 2, "inner_rate": 0.6, "anneal_iterations": 60},
        least={"meta_batch_size": 4, "lanes": 4},
        # as MAML's: a Gaussian explorer keeps the spread that its gradient step needs
        shortfall={"continuous": 0.35},
    ),
    "norml": Algorithm(
        place="gradient.norml:NoRML",
        summary="first weights and a learned advantage from which gradient steps adapt without a reward",
        knows="nothing",  # of tasks that pay alone tells apart, as those of the tests
        small={"meta_batch_size": 20, "hidden_size": 16, "inner_steps": 2, "inner_rate": 0.3, "learning_rate": 5e-3},
        least={"meta_batch_size": 4, "lanes": 4, "n_epochs": 1},
        # as MAML's: a Gaussian explorer keeps the spread that its gradient step needs
        shortfall={"continuous": 0.35},
    ),
    "es-maml": Algorithm(
        place="gradient.es_maml:ESMAML",
        summary="first weights from which adapting leads far, found by pushing them at random: no derivative of adapting",
        small={"hidden_size": 16, "lanes": 20, "inner_steps": 2, "inner_rate": 0.3},
        least={"meta_batch_size": 4, "lanes": 4},
        # as MAML's: a Gaussian explorer keeps the spread that its gradient step needs, and is pushed besides
        shortfall={"continuous": 0.45},
    ),
    "pearl": Algorithm(
        place="belief.pearl:PEARL",
        summary="a belief about the task, and a soft actor-critic that acts on samples of it",
        actions="discrete or bounded",
        small={
            "num_train_tasks": 32,
            "trials": 16,
            "updates": 5,
            "meta_batch_size": 8,
            "batch_size": 32,
            "context_size": 16,
            "latent_size": 2,
            "hidden_size": 32,
            "learning_rate": 3e-3,
            "tau": 0.02,
            "gamma": 0.5,
            "kl_weight": 0.01,
            "entropy_share": 0.1,
            "buffer_size": 1000,
        },
        least={"num_train_tasks": 8, "trials": 4, "updates": 2, "meta_batch_size": 4, "batch_size": 8},
        # as if a sample of its belief were the task it walks to one side at first, for 0.5 on average; the middle pays 0.75
        shortfall={"continuous": 0.4},
    ),
    "grbal": Algorithm(
        place="model.grbal:GrBAL",
        summary="plans in a model whose weights adapt to the last steps by a gradient, at every step anew",
        observations="vector",
        actions="discrete or bounded",
        small={
            "trials": 16,
            "updates": 40,
            "batch_size": 64,
            "hidden_size": 16,
            "past_steps": 2,
            "future_steps": 1,
            "learning_rate": 1e-2,
            "plan_steps": 2,
            "candidates": 32,
            "refits": 2,
            "buffer_trials": 512,
        },
        least={"trials": 4, "updates": 2, "batch_size": 8, "candidates": 6, "refits": 1},
    ),
    "rebal": Algorithm(
        place="model.rebal:ReBAL",
        summary="plans in a model that reads a memory of the trial's steps",
        observations="vector",
        actions="discrete or bounded",
        small={
            "trials": 16,
            "updates": 20,
            "batch_size": 64,
            "hidden_size": 16,
            "learning_rate": 5e-3,
            "plan_steps": 2,
            "candidates": 32,
            "refits": 2,
            "buffer_trials": 512,
        },
        least={"trials": 4, "updates": 2, "batch_size": 8, "candidates": 6, "refits": 1},
        # a planner doesn't explore on purpose: it begins near the middle, which pays best and tells little of the side
        shortfall={"continuous": 0.25},
    ),
    "cadm": Algorithm(
        place="model.cadm:CaDM",
        summary="plans in a model that reads a context of the last steps",
        observations="vector",
        actions="discrete or bounded",
        small={
            "trials": 16,
            "updates": 20,
            "batch_size": 64,
            "hidden_size": 16,
            "past_steps": 2,
            "future_steps": 1,
            "learning_rate": 5e-3,
            "members": 2,
            "particles": 2,
            "plan_steps": 2,
            "candidates": 32,
            "refits": 2,
            "buffer_trials": 512,
        },
        least={"trials": 4, "updates": 2, "batch_size": 8, "candidates": 6, "refits": 1},
    ),
    "mpc": Algorithm(
        place="model.mpc:MPC",
        summary="plans in a learnt model of all tasks together, which doesn't adapt",
        observations="vector",
        actions="discrete or bounded",
        knows="nothing",
        small={
            "trials": 16,
            "updates": 20,
            "batch_size": 64,
            "hidden_size": 16,
            "learning_rate": 5e-3,
            "members": 2,
            "particles": 2,
            "plan_steps": 2,
            "candidates": 32,
            "refits": 2,
            "buffer_trials": 512,
        },
        least={"trials": 4, "updates": 2, "batch_size": 8, "candidates": 6, "refits": 1},
    ),
    "multi-task": Algorithm(
        place="baselines.multi_task:MultiTask",
        summary="one memoryless policy for all tasks: the baseline to beat",
        knows="nothing",
        small={"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
        least={"n_envs": 16, "n_epochs": 1, "minibatches": 2},
    ),
    "multi-task-sac": Algorithm(
        place="baselines.multi_task_sac:MultiTaskSAC",
        summary="one memoryless SAC policy on a shared replay, fine-tuned on the new task",
        actions="discrete or bounded",
        small={
            "num_train_tasks": 32,
            "n_envs": 32,
            "updates": 2,
            "batch_size": 64,
            "hidden_size": 16,
            "learning_rate": 5e-3,
            "gamma": 0.5,
            "entropy_share": 0.6,
            "fine_tune_steps": 20,
            "fine_tune_rate": 3e-2,
            "fine_tune_batch": 16,
        },
        least={"num_train_tasks": 8, "n_envs": 8, "batch_size": 16, "fine_tune_steps": 4},
        # nothing has taught it what one reward at one action says of others: critics find out in two episodes or three
        shortfall={"discrete": 0.4, "continuous": 0.5},
    ),
    "task-informed": Algorithm(
        place="baselines.multi_task:task_informed",
        summary="the multi-task policy, told each task's parameters: the upper bound",
        knows="task",
        small={"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
        least={"n_envs": 16, "n_epochs": 1, "minibatches": 2},
    ),
}

BASELINES: dict[str, Baseline] = {
    "random": Baseline("baselines.random:Random", "acts at random and learns nothing"),
    "from-scratch": Baseline("gradient.maml:from_scratch", "MAML before meta-training: untrained weights, the same adaptation"),
}

PUBLIC = {
    name: f"algorithms.{module}"
    for entry in [*ALGORITHMS.values(), *BASELINES.values()]
    for module, name in [entry.place.split(":")]
    if not name.islower()
}
"""The classes among these, which the public door of the library shows, and the module of each."""


def algorithm(name: str) -> Algorithm:
    """A registered algorithm; UsageError for an unknown name."""
    if name not in ALGORITHMS:
        raise UsageError(f"unknown algorithm '{name}'; {did_you_mean(name, ALGORITHMS)}")
    return ALGORITHMS[name]
