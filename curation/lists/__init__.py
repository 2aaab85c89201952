"""Published lists: their readers, one file each, and the ingest that writes their rows into a dataset.

A list is untrusted: a row that cannot be understood is rejected with its line and reason, never guessed, and nothing
here opens a network connection or looks at media.
"""
