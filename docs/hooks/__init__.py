"""What `mkdocs.yml` runs."""
