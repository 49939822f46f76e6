"""Pure functions on stated axes: formulae that are settled, written once. Nothing here knows of a network or an environment."""
