"""What `train` has around the loop of `models/training`: samples and boards that show a run, workers that share it."""
