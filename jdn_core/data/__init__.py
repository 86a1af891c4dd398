"""COCO-format datasets: reading, checking, loading, generating."""
