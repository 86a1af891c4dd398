"""Settings that suit photos, a checkpoint and a machine, each with its reason."""
