import numpy as np

from curation.programs.not_numbers import may_hold_any
from curation.programs.probe import probe

pytest_plugins = "tests.curation.encoding"


def test_only_codecs_of_floating_point_samples_are_looked_through_for_numbers(encode):
    sound = np.zeros((4800, 1), np.int16)
    wanted = {"pcm_f32le": True, "pcm_f64le": True, "wavpack": True, "pcm_s16le": False, "flac": False, "aac": False}
    streams = [probe(encode(f"{codec}.mkv", sound, codecs=f"-c:a {codec}")).sound for codec in wanted]
    assert {stream.codec: may_hold_any(stream) for stream in streams} == wanted
