"""Bodies, and those who care for them."""
