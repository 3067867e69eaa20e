"""Images in files: what is found in folders, and how it is read."""
