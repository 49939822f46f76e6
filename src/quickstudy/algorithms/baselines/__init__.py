"""Policies that learn nothing about how to learn: what adaptation has to beat."""
