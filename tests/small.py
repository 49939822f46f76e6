"""Settings of each algorithm under which a probe task takes seconds."""

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
    "task-informed": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
}
