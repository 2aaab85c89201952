"""Codecs between sound and latents, all with the interface `models.codecs.codec.Codec`, and how they are trained.

The closed-form one is fitted in under a second and is the floor that a trained one must beat; waveform autoencoders and
those of mel spectrograms are published ones, or trained here against a judge.
"""
