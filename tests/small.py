"""Settings of each algorithm under which a probe task takes seconds, and settings that learn nothing and take no time."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "rl2": {"trials": 64, "hidden_size": 16, "learning_rate": 5e-3},
    "varibad": {
        "trials": 64,
        "hidden_size": 16,
        "learning_rate": 5e-3,
        "latent_size": 4,
        "belief_size": 16,
        "belief_rate": 1e-2,
        "belief_updates": 4,
    },
    "maml": {
        "hidden_size": 16,
        "inner_steps": 2,
        "inner_rate": 0.2,
        "learn_inner_rate": True,
        "outer": "ppo",
        "learning_rate": 5e-3,
    },
    "pearl": {
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
    "multi-task": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
    "recurrent-sac": {
        "updates": 4,
        "hidden_size": 16,
        "learning_rate": 5e-3,
        "policy_rate": 5e-3,
        "temperature_rate": 5e-3,
        "gamma": 0.9,
        "tau": 0.05,
        "entropy_share": 0.1,
        "buffer_trials": 256,
    },
    "multi-task-sac": {
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
    "task-informed": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
}

LEAST: dict[str, dict[str, Any]] = {
    "rl2": {"trials": 8, "n_epochs": 1, "minibatches": 2},
    "varibad": {"trials": 8, "n_epochs": 1, "minibatches": 2, "belief_updates": 2, "belief_batch": 8},
    "maml": {"meta_batch_size": 4, "lanes": 4, "n_epochs": 1},
    "pearl": {"num_train_tasks": 8, "trials": 4, "updates": 2, "meta_batch_size": 4, "batch_size": 8},
    "multi-task": {"n_envs": 16, "n_epochs": 1, "minibatches": 2},
    "recurrent-sac": {"trials": 8, "updates": 2, "batch_size": 8},
    "multi-task-sac": {"num_train_tasks": 8, "n_envs": 8, "batch_size": 16, "fine_tune_steps": 4},
    "task-informed": {"n_envs": 16, "n_epochs": 1, "minibatches": 2},
}
TINY = {name: small | LEAST[name] for name, small in SMALL.items()}
"""For tests of what holds whether anything is learnt or not."""


def as_options(settings: dict[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in settings.items()
        if value is not False
    ]
