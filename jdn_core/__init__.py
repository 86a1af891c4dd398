"""Joint-DetNAS (CVPR 2021) on plain values and tensors: architecture search, pruning and distillation."""
