"""Worker processes: warm, each with a device and threads of its own; what kills one hurts nobody else."""
