"""Methods that adapt by gradient."""
