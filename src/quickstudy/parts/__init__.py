"""What several methods are made of: plain functions and small values, each once."""
