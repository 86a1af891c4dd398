"""Datasets of other formats: a reader each, which all give the same value, and the conversion to COCO."""
