"""Accuracy, complexity and latency of a detector."""
