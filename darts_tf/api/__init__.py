"""The Python interface: whole runs as functions, what they find as objects; public names are those of `darts_tf`."""
