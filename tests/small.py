"""Settings of each algorithm under which a probe task takes seconds."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "rl2": {"trials": 64, "hidden_size": 16, "learning_rate": 1e-2},
    "maml": {"meta_batch_size": 16, "lanes": 10, "hidden_size": 16, "inner_rate": 5.0, "max_kl": 0.03},
    "multi-task": {"n_envs": 256, "hidden_size": 16, "learning_rate": 1e-2},
    "task-informed": {"n_envs": 256, "hidden_size": 16, "learning_rate": 1e-2},
}
