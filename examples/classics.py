"""Gymnasium's classic environments as task distributions, two parameters of each differing from task to task.

quickstudy check examples/classics.py:pendulum
quickstudy train rl2 examples/classics.py:cart_pole --credit episode --trials 64
"""

import quickstudy as qs

cart_pole = qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0))

acrobot = qs.GymnasiumTasks("Acrobot-v1", LINK_LENGTH_1=qs.Uniform(0.5, 1.5), LINK_MASS_2=qs.LogUniform(0.5, 2.0))

pendulum = qs.GymnasiumTasks("Pendulum-v1", g=qs.Uniform(5.0, 15.0), m=qs.Uniform(0.5, 1.5))

mountain_car = qs.GymnasiumTasks(
    "MountainCarContinuous-v0", max_episode_steps=300, power=qs.Uniform(0.001, 0.002), goal_position=qs.Uniform(0.3, 0.5)
)
