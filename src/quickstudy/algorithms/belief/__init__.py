"""Methods that act on a belief about the task."""
