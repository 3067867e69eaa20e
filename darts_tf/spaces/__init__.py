"""The search spaces, a folder each: its supernet, its derived networks, its operations."""
