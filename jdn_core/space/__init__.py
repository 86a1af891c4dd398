"""What can be searched: plain frozen values, no torch."""
