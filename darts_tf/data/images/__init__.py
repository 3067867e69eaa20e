"""Data sets of images: parts, streams, augmentation."""
