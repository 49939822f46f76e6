"""Ten of Gymnasium's classics, each with two parameters that vary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

import quickstudy as qs


def slippery_lake() -> Any:
    """FrozenLake, whose ice and whose goal's worth differ."""

    def configure(env: Any, values: dict[str, Any]) -> None:
        table = gymnasium.make("FrozenLake-v1", is_slippery=values["slippery"] > 0.5).unwrapped.P  # pyright: ignore
        worth = values["worth"]
        env.P = {
            state: {action: [(p, to, reward * worth, end) for p, to, reward, end in moves] for action, moves in actions.items()}
            for state, actions in table.items()
        }

    return qs.GymnasiumTasks("FrozenLake-v1", configure=configure, slippery=qs.Choice(0.0, 1.0), worth=qs.Uniform(0.5, 2.0))


def windy_lander() -> Any:
    """LunarLander in wind."""
    return qs.GymnasiumTasks(
        lambda: gymnasium.make("LunarLander-v3", enable_wind=True),
        gravity=qs.Uniform(-11.0, -6.0),
        wind_power=qs.Uniform(0.0, 15.0),
    )


def rewarded(name: str, limit: int | None = None) -> Callable[[], Any]:
    """An environment whose rewards differ in scale and offset, where the physics has nothing to vary."""

    def build() -> Any:
        scale = {"scale": 1.0, "offset": 0.0}
        env = gymnasium.make(name)

        class Rewarded(gymnasium.RewardWrapper[Any, Any]):
            def reward(self, reward: Any) -> float:
                return float(reward) * scale["scale"] + scale["offset"]

        wrapped = Rewarded(env)
        env.unwrapped.scale = scale  # pyright: ignore
        return wrapped

    def configure(env: Any, values: dict[str, Any]) -> None:
        env.scale.update(values)

    return lambda: qs.GymnasiumTasks(
        build, max_episode_steps=limit, configure=configure, scale=qs.LogUniform(0.5, 2.0), offset=qs.Uniform(-1.0, 1.0)
    )


bipedal_walker = rewarded("BipedalWalker-v3", 300)

CLASSICS: dict[str, Callable[[], Any]] = {
    "CartPole-v1": lambda: qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0)),
    "Acrobot-v1": lambda: qs.GymnasiumTasks(
        "Acrobot-v1", LINK_LENGTH_1=qs.Uniform(0.5, 1.5), LINK_MASS_2=qs.LogUniform(0.5, 2.0)
    ),
    "Pendulum-v1": lambda: qs.GymnasiumTasks("Pendulum-v1", g=qs.Uniform(5.0, 15.0), m=qs.Uniform(0.5, 2.0)),
    "MountainCar-v0": lambda: qs.GymnasiumTasks(
        "MountainCar-v0", force=qs.Uniform(0.0008, 0.0015), gravity=qs.Normal(0.0025, 0.0002)
    ),
    "MountainCarContinuous-v0": lambda: qs.GymnasiumTasks(
        "MountainCarContinuous-v0", power=qs.Uniform(0.001, 0.002), max_speed=qs.Uniform(0.05, 0.09)
    ),
    "LunarLander-v3": windy_lander,
    "FrozenLake-v1": slippery_lake,
    "CliffWalking-v1": rewarded("CliffWalking-v1", 100),
    "Taxi-v4": rewarded("Taxi-v4"),
    "Blackjack-v1": rewarded("Blackjack-v1", 20),
}
