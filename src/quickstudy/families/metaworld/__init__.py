"""Meta-World's benchmarks of a robot arm."""
