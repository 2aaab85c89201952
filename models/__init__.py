"""Neural networks and codecs, their losses, solvers and training loop: tensors in, tensors out.

Nothing here knows a dataset, a clip or a command line, and nothing is imported from the other folders.
"""
