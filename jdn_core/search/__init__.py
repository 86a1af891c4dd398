"""The brain: pairs, scores, proposals and records; no torch."""
