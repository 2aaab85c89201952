"""Run by test_omni.py in a Python of its own: `python show_to_omni.py LIBRARIES FOLDER`.

Shows pictures to tiny Omni models, and prints what was found as JSON. LIBRARIES holds torchvision, whose operators need
a build of torch with CUDA, but nothing here calls them, so naming them is enough.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    libraries, folder = sys.argv[1], Path(sys.argv[2])
    sys.path.append(libraries)
    kept = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        kept.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from captioning.captioner import Sound
    from captioning.decoding import Decoding
    from captioning.in_process.audio_language import AudioLanguageModel
    from captioning.prompt import Prompt
    from tests.captioning.tiny_omni import qwen2_5_omni, qwen3_omni

    random = np.random.default_rng(1)

    def clip(key: str, seconds: float, frames: int, height: int, width: int) -> Sound:
        wave_T = (0.1 * random.standard_normal(round(16_000 * seconds))).astype(np.float32)
        shown = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        return Sound(key=key, wave_T=wave_T, sample_rate_hz=16_000, frames_NHWC=shown)

    prompt = Prompt(name="made-v1", text="Describe it.")
    clips = [clip("a", 1.5, 3, 96, 128), clip("b", 4.0, 8, 64, 64), clip("c", 0.5, 1, 90, 60)]
    blank = Sound(key="a", wave_T=clips[0].wave_T, sample_rate_hz=16_000, frames_NHWC=0 * clips[0].frames_NHWC)
    silent = Sound(key="a", wave_T=0 * clips[0].wave_T, sample_rate_hz=16_000, frames_NHWC=clips[0].frames_NHWC)
    found = {}
    for name, save in (("qwen2.5-omni", qwen2_5_omni), ("qwen3-omni", qwen3_omni)):
        captioner = AudioLanguageModel.from_pretrained(
            save(folder / name), device="cpu", decoding=Decoding(max_new_tokens=48), sees=True
        )
        found[name] = {
            "identity": captioner.identity().as_dict(),
            "together": [str(answer) for answer in captioner.caption(clips, prompt)],
            "alone": [str(captioner.caption([one], prompt)[0]) for one in clips],
            "other_picture": str(captioner.caption([blank], prompt)[0]),
            "other_sound": str(captioner.caption([silent], prompt)[0]),
        }
    del kept
    print(json.dumps(found))


if __name__ == "__main__":
    main()
