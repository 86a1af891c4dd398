"""One training loop and what it is given: schedules, resolutions, randomness."""
