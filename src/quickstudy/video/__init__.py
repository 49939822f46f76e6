"""Episodes of one trial side by side, as a video."""
