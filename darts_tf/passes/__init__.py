"""How one forward and backward pass is computed: dtype, parts, replicas, recomputation."""
