"""Experience: how a policy and tasks make it."""
