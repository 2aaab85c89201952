"""Programs that read untrusted media, each in a contained process: ffmpeg, a prober, what is asked of them."""
