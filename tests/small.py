"""Settings of each algorithm under which a probe task takes seconds."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "rl2": {"trials": 64, "hidden_size": 16, "learning_rate": 5e-3},
    "maml": {
        "hidden_size": 16,
        "inner_steps": 2,
        "inner_rate": 0.2,
        "learn_inner_rate": True,
        "outer": "ppo",
        "learning_rate": 5e-3,
    },
    "multi-task": {"n_envs": 256, "hidden_size": 16, "learning_rate": 5e-3},
    "recurrent-sac": {
        "updates": 4,
        "hidden_size": 16,
        "learning_rate": 5e-3,
        "policy_rate": 5e-3,
        "temperature_rate": 5e-3,
        "gamma": 0.9,
        "target_rate": 0.05,
        "entropy_share": 0.1,
        "replay_size": 256,
    },
    "multi-task-sac": {
        "num_train_tasks": 32,
        "meta_batch_size": 32,
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
