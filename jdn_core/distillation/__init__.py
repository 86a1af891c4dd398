"""Student and teacher on shared proposals (paper, section 3.2)."""
