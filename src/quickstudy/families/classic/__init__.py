"""Small worlds in tensors, which need no simulator."""
