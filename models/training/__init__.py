"""Training, apart from any system: the loop, its state and checkpoints, the schedule, the moving average, the log."""
