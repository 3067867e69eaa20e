"""Image data sets in the records of TensorFlow Datasets."""
