"""Run by test_seeing.py in a Python of its own: `python seeing_dataset.py LIBRARIES FOLDER`.

A tiny random PE-AV embeds a small dataset: sounds, pictures, and both; each index is asked with words, a sound, a
picture and a video. What was found is printed as JSON. LIBRARIES holds timm and torchvision, as for tiny_pe_av.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.models.encoders.tiny_pe_av import FRAMES, SIDE, STEP, declared, save

WORDS = ("a", "dog", "barks", "rain", "on", "the", "roof", "wind", "in", "trees")


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    known = {word: number for number, word in enumerate((*special.values(), *WORDS))}
    backend = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)


def parity(folder: Path) -> dict[str, float]:
    """Largest difference of each kind of vector from what the class's own `forward` gives."""
    from transformers import AutoTokenizer, PeAudioVideoModel

    from models.encoders.pe_av_vectors import PeAvEncoder

    random = torch.Generator().manual_seed(1)
    wave_BT = torch.rand((2, 3 * STEP), generator=random) - 0.5
    frames = torch.randint(0, 256, (2, FRAMES, SIDE, SIDE, 3), generator=random, dtype=torch.uint8)
    texts = ["a dog barks", "rain on the roof in the wind"]
    pixels = (frames.float() / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.5, 0.5, 0.25])
    words = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = PeAudioVideoModel.from_pretrained(folder).eval()(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            input_values=wave_BT[:, None],
            pixel_values_videos=pixels.permute(0, 1, 4, 2, 3),
        )
    encoder = PeAvEncoder.from_pretrained(folder)
    pairs = {
        "sound": (encoder.embed_sound(wave_BT), theirs.audio_embeds),
        "picture": (encoder.embed_picture(frames), theirs.video_embeds),
        "both": (encoder.embed_both(wave_BT, frames), theirs.audio_video_embeds),
        "text_sound": (encoder.embed_text(texts, "sound"), theirs.text_audio_embeds),
        "text_picture": (encoder.embed_text(texts, "picture"), theirs.text_video_embeds),
        "text_both": (encoder.embed_text(texts, "both"), theirs.text_audio_video_embeds),
    }
    alone = torch.cat([encoder.embed_text([text], "both") for text in texts])
    pairs["one_by_one"] = (encoder.embed_text(texts, "both"), alone)
    unit = torch.nn.functional.normalize
    return {name: float((ours - unit(other, dim=-1)).abs().max()) for name, (ours, other) in pairs.items()}


def asked(dataset: Path, name: str, folder: Path) -> dict[str, Any]:
    """The best clip for each way of asking, and its score."""
    from pipelines.verbs.query import query

    found = {
        "text": query(dataset, "rain on the roof", index=name),
        "sound": query(dataset, sound=folder / "sound.flac", index=name),
        "picture": query(dataset, picture=folder / "still.png", index=name),
        "video": query(dataset, picture=folder / "movie.mp4", index=name),
        "clip": query(dataset, clip=(folder / "clip").read_text(), index=name),
    }
    return {way: [(hit.clip_id, round(hit.score, 4)) for hit in result.hits] for way, result in found.items()}


def main() -> None:
    libraries, place = sys.argv[1:]
    sys.path.append(libraries)
    kept = declared()
    folder = Path(place)
    model = folder / "model"
    save(model)
    save_tokenizer(model)
    from curation.errors import ArgumentError
    from curation.selections.selection import select
    from pipelines.verbs.embed import embed
    from pipelines.verbs.index import index
    from pipelines.verbs.query import query
    from tests.curation.made import Made
    from tests.curation.programs.test_picture_copy import still

    made = Made(folder)
    clips = [made.clip(f"seen{seed}", sound=seed, picture=True) for seed in (1, 3, 6)]
    blind = made.clip("blind", sound=9)
    opened = made.dataset()
    row = opened.sql("SELECT * FROM cut WHERE key = ?", [clips[1]]).to_pylist()[0]
    (folder / "sound.flac").write_bytes(opened.media.path(row["audio_sha256"], ".flac").read_bytes())
    (folder / "movie.mp4").write_bytes(opened.media.path(row["video_sha256"], ".mp4").read_bytes())
    (folder / "clip").write_text(clips[1])
    still(folder / "still.png", "png")
    select(opened, name="train", where="cut.video_sha256 IS NOT NULL")
    found: dict[str, Any] = {"parity": parity(model), "clip": clips[1], "blind": blind, "done": {}, "asked": {}}
    for of in ("sound", "picture", "both"):
        found["done"][of] = embed(opened.path, embedder=str(model), of=of, name=of, workers=0).tally.done
        index(opened.path, name=of, embedder=str(model), vectors=of)
        found["asked"][of] = asked(opened.path, of, folder)
    select(opened, name="all")
    try:
        index(opened.path, selection="all", embedder=str(model), vectors="picture")
    except ArgumentError as error:
        found["blind_refused"] = str(error)
    (folder / "text.png").write_text("hello")
    try:
        query(opened.path, picture=folder / "text.png", index="picture")
    except ArgumentError as error:
        found["refused"] = str(error)
    del kept
    print(json.dumps(found))


if __name__ == "__main__":
    main()
