"""The one door to a run: start, resume, fork, rebuild, find; it opens folders and owns them."""
