"""Landing on a moon whose gravity and wind differ from task to task; needs pip install 'quickstudy[box2d]'.

quickstudy train rl2 examples/lunar_lander.py:tasks --credit episode --trials 64
"""

import gymnasium

import quickstudy as qs


def windy_moon() -> gymnasium.Env:
    """A moon with wind, which the parameters set the strength of."""
    return gymnasium.make("LunarLander-v3", enable_wind=True)


tasks = qs.GymnasiumTasks(windy_moon, max_episode_steps=500, gravity=qs.Uniform(-11.0, -6.0), wind_power=qs.Uniform(0.0, 15.0))
