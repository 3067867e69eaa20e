"""The foundation: errors, files, signals, streams, and the settings of TensorFlow and Keras."""
