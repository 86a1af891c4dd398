"""Datasets in COCO format: the rules of an annotation file, its check, the loaded dataset, and the writer."""
