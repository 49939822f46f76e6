"""Traffic at a crossing, in tensors."""
