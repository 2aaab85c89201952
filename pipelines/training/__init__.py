"""What `train` has around the loop of `models/training`: boards that show a run, and workers that share it."""
