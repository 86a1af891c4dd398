"""Faster R-CNN with FPN, built from a specification."""
