"""A Gymnasium environment as a task distribution: the pole's length varies, and so does which button pushes which way.

quickstudy train rl2 examples/gymnasium_cart_pole.py:tasks --credit episode --learning-rate 2e-3 --trials 64
"""

import quickstudy as qs

tasks = qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0))
