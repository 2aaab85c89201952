"""Videos and channels that leave a dataset, with all that was made of them, and never come back."""
