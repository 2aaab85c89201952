"""The report of a dataset: one HTML page that opens from the disk, with counts, plots and sounds."""
