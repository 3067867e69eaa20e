"""Search, training and evaluation."""
