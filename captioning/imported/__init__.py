"""Published sets of captions, joined with a dataset's clips by video and time."""
