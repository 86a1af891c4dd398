"""Joint-DetNAS (CVPR 2021): architecture search, pruning and dynamic distillation of detectors, on plain values and tensors."""
