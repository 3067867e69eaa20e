"""Images in `.npz` archives."""
