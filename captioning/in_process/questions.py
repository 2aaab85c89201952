"""From a batch of sounds, and pictures beside them, to the tensors that a model of a family takes.

What a clip's tensors hold does not depend on its neighbours: sounds are filled with silence that the encoders mask, to
whole seconds with one to spare, so that the last window of no spectrogram reaches beyond its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from captioning.in_process.families import SAMPLE_RATE_HZ, Family
from captioning.picture import FRAMES_HZ


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one clip is asked with.

    Args:
        text: The prompt, without control tokens; empty where nothing is asked.
        wave_T: Mono sound at `SAMPLE_RATE_HZ`.
        frames_NHWC: The picture at `FRAMES_HZ`, RGB; None for the sound alone.
    """

    text: str
    wave_T: npt.NDArray[np.float32]
    frames_NHWC: npt.NDArray[np.uint8] | None = None

    def messages(self) -> list[dict[str, Any]]:
        """As a chat template takes it; the sound of a shown picture has no place of its own in it."""
        content: list[dict[str, Any]] = [{"type": "audio", "audio": self.wave_T}]
        if self.frames_NHWC is not None:
            content = [{"type": "video"}]
        if self.text:
            content.append({"type": "text", "text": self.text})
        return [{"role": "user", "content": content}]


def inputs_of(turns: Sequence[Turn], processor: Any, family: Family) -> Any:
    """The tensors of a batch, padded on the left.

    Args:
        turns: All with a picture, or all without.
        processor: The model's.
        family: What kind of model it is.
    """
    conversations = [turn.messages() for turn in turns]
    if family.padding != "longest":
        flat = {"return_tensors": "pt", "padding": True, "sampling_rate": SAMPLE_RATE_HZ}
        return processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs=flat if family.padding == "flat" else {},
        )
    waves = [_filled(turn.wave_T, round(family.filled_s * SAMPLE_RATE_HZ)) for turn in turns]
    seconds = -(-max(map(len, waves)) // SAMPLE_RATE_HZ) + 1
    pictures = [turn.frames_NHWC for turn in turns if turn.frames_NHWC is not None]
    shown: dict[str, Any] = {}
    if pictures:
        shown = {
            "videos": pictures,
            "load_audio_from_video": True,
            "audio_from_video_indices": list(range(len(pictures))),
            "videos_kwargs": {"fps": FRAMES_HZ, "do_sample_frames": False},
        }
    return processor(
        text=processor.apply_chat_template(conversations, add_generation_prompt=True, tokenize=False),
        audio=waves,
        return_tensors="pt",
        text_kwargs={"padding": True},
        audio_kwargs={
            "padding": "max_length",
            "max_length": seconds * SAMPLE_RATE_HZ,
            "sampling_rate": SAMPLE_RATE_HZ,
        },
        **shown,
    )


def _filled(wave_T: npt.NDArray[np.float32], least: int) -> npt.NDArray[np.float32]:
    return np.pad(wave_T, (0, max(0, least - len(wave_T))))
