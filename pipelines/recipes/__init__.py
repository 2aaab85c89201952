"""What `foundsound train` can train: a file a recipe, each a function of a dataset and a run folder."""
