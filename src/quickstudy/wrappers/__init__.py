"""What wraps an agent or a learner, whichever it is."""
