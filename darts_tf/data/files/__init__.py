"""Images in files: how they are found in folders, and read."""
