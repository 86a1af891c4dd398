"""Datasets: layouts, COCO format and others, pictures, batches, generated shapes."""
