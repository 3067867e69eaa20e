"""Images in files: finding them in folders and reading them."""
