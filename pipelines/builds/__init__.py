"""What `foundsound build` runs: a recipe is a list of commands, each of which resumes by being run again."""
