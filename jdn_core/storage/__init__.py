"""Files that survive a crash: written atomically, hashed, sealed; knows no torch."""
