"""What moves the weights: the epoch loop, checkpoints, reporting, the search."""
