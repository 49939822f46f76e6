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
    "multi-task": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
    "task-informed": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
}
