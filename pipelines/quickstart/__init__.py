"""A small world of made sounds and pictures, and the whole path of foundsound over it without a network.

`sounds`, `pictures` and `phrases` say what the world is made of, `world` draws its videos, `corpus` writes them to a
folder together with lists and deliberate faults, `mirror` serves that folder over HTTP on the loopback address, and
`judge` says by arithmetic which class a sound belongs to.
"""
