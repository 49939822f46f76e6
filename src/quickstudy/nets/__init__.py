"""Networks and action distributions. A network is a skeleton on the meta device; its weights are values beside it."""
