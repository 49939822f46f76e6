"""Exported agents at work without PyTorch: NumPy and ONNX Runtime carry them, adaptation included.

    from quickstudy import runtime

    agent = runtime.load("agent.onnx")
    session = agent.session(seed=0)
    action = session.act(observation)
    session.feedback(reward, terminated, truncated, observation)

A session here is used as one of `quickstudy.Session` is. Nothing in this folder imports PyTorch.
"""

from quickstudy.runtime.agent import Agent as Agent
from quickstudy.runtime.agent import load as load
from quickstudy.runtime.session import Session as Session
