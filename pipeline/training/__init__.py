"""Training: one loop for all, its grid and learning-rate schedules, sampling and checkpoints; it knows no model."""
