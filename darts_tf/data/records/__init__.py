"""Image data sets in TensorFlow Datasets records."""
