"""Pages from a small server on this machine: a training that is followed, an agent that is played with."""
