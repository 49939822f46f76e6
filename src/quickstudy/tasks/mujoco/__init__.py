"""Robots by MuJoCo: bodies as in Gymnasium, families of tasks as in the papers, stepped by MuJoCo's own threaded rollout."""
