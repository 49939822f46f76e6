"""A run's pictures as one page: a file that needs nothing else, neither a network nor a server."""
