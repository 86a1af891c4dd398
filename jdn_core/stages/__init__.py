"""The stages of the method on tensors: base, pool, fast evaluation, assessment of subnets."""
