"""Robots, by MuJoCo."""
