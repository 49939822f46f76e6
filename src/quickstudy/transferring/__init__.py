"""What meta-training is worth on other tasks: learnt from a run's policy, from nothing, or as the run adapts."""
