"""Contracts, tried out: of task distributions, and of learners."""
