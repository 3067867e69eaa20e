"""Data: images, their augmentation, and the search split."""
