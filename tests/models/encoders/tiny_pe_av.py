"""Run by test_pe_av.py in a Python of its own: `python tiny_pe_av.py LIBRARIES FOLDER`.

Builds a tiny random PE-AV of the real class, saves it as a checkpoint, loads it by our encoder, and prints what it
found as JSON. LIBRARIES holds timm and torchvision; the latter's operators need a build of torch with CUDA, but nothing
here calls them, so naming them is enough.
"""

import json
import sys
from pathlib import Path

import torch

NAMES = ("nms", "qnms")
FRAMES, SIDE, RATE_HZ, STEP = 4, 32, 48_000, 1920


def declared() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for name in NAMES:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def save(folder: Path) -> None:
    from transformers import PeAudioFeatureExtractor, PeAudioVideoConfig, PeAudioVideoModel

    size = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    dac = {"encoder_hidden_size": 4, "codebook_dim": 8, "hidden_size": 64, "n_codebooks": 1, "codebook_size": 8}
    eyes = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_tiny_patch16_384",
        "model_args": {"depth": 1, "embed_dim": 32, "num_heads": 2, "img_size": (SIDE, SIDE)},
        "num_classes": 32,
        "do_pooling": True,
        "global_pool": "map",
    }
    text = {
        "model_type": "modernbert",
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    }
    audio = {"model_type": "pe_audio_encoder", **size, "dac_config": {"model_type": "dac", **dac}}
    video = {"model_type": "pe_video_encoder", **size, "vision_config": eyes}
    torch.manual_seed(0)
    model = PeAudioVideoModel(
        PeAudioVideoConfig(text_config=text, audio_video_config={**size, "audio_config": audio, "video_config": video})
    )
    with torch.no_grad():
        model.audio_video_logit_scale.fill_(10.0)
        model.audio_video_logit_bias.fill_(-1.0)
    model.save_pretrained(folder)
    PeAudioFeatureExtractor(sampling_rate=RATE_HZ, hop_length=STEP).save_pretrained(folder)
    processor = {"size": {"height": SIDE, "width": SIDE}, "num_frames": FRAMES, "image_mean": [0.5, 0.4, 0.3]}
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**processor, "image_std": [0.5, 0.5, 0.25]}))


def main() -> None:
    libraries, folder = sys.argv[1:]
    sys.path.append(libraries)
    kept = declared()
    save(Path(folder))
    from transformers import PeAudioVideoModel

    from models.encoders.pe_av import PeAv
    from pipelines.wiring.taggers import load_scorer

    judge = PeAv.from_pretrained(folder)
    random = torch.Generator().manual_seed(1)
    wave_T = torch.rand(3 * STEP, generator=random) - 0.5
    frames = torch.randint(0, 256, (FRAMES, SIDE, SIDE, 3), generator=random, dtype=torch.uint8)
    other = torch.randint(0, 256, (FRAMES, SIDE, SIDE, 3), generator=random, dtype=torch.uint8)
    pixels = (frames.float() / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.5, 0.5, 0.25])
    with torch.no_grad():
        theirs = PeAudioVideoModel.from_pretrained(folder).eval()(
            input_values=wave_T[None, None], pixel_values_videos=pixels.permute(0, 3, 1, 2)[None]
        )
    refused = []
    for bad in ((torch.zeros(0), frames), (torch.zeros(1, 9), frames), (wave_T, frames[:, :-1]), (wave_T, frames[:0])):
        try:
            judge.score(*bad)
        except ValueError as error:
            refused.append(str(error))
    found = {
        "settings": [judge.sample_rate_hz, judge.frames, judge.frame_size_px],
        "score": judge.score(wave_T, frames),
        "wired": load_scorer(folder).score(wave_T.numpy(), frames.numpy()),
        "again": judge.score(wave_T, frames),
        "theirs": float(theirs.logits_audio_video[0, 0]),
        "other_picture": judge.score(wave_T, other),
        "other_sound": judge.score(wave_T.flip(0), frames),
        "odd_length": judge.score(wave_T[:-100], frames),
        "one_sample": judge.score(wave_T[:1], frames),
        "refused": refused,
        "same_identity": PeAv.from_pretrained(folder).identity() == judge.identity(),
    }
    del kept
    print(json.dumps(found))


if __name__ == "__main__":
    main()
