"""The Python interface: whole runs as functions, their results as objects. `darts_tf` exports the public names."""
