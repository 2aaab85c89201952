"""Codecs between sound and latents, all with the interface `models.codecs.codec.Codec`.

The closed-form one is fitted in under a second and is the floor that a trained one must beat; published waveform
autoencoders are wrapped.
"""
