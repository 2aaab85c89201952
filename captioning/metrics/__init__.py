"""How close sentences are to sentences by people: BLEU, ROUGE-L and CIDEr-D, without any download.

Every function takes sentences as lists of words (`words.py`), for each clip one candidate and at least one reference.
"""
