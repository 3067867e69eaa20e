"""How one forward and backward pass is computed: type, parts, replicas, recomputation."""
