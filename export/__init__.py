"""Export of trained networks to servers and devices, and a client; imported as `darts_tf.export`."""
