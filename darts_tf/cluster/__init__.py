"""Several devices and several processes: one batch for all, the same steps, the same result."""
