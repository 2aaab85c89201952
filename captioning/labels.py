"""The captioner `label`: a sentence made from a clip's class names, by the templates of a prompt file.

It listens to nothing and invents nothing; it is the floor that a model's captions must beat.
"""

from collections.abc import Sequence

from captioning.captioner import CaptionerIdentity, Sound
from captioning.prompt import PLACEHOLDER, Prompt
from curation.errors import ArgumentError, ClipError
from curation.keys import stable_hash

LABEL_CAPTIONER = "label"
LABEL_PROMPT = "sentence-v1"
"""Templates used when no others are asked for."""


class LabelCaptioner:
    """Fills the labels of a clip into a template; of several templates, one a line, the clip's id picks one."""

    def identity(self) -> CaptionerIdentity:
        """No model, no sound."""
        return CaptionerIdentity(name=LABEL_CAPTIONER, version=1)

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """A sentence for each clip, `NO_LABEL` for one without labels.

        Args:
            sounds: The clips; their waves are not looked at.
            prompt: One template a line, each with `{labels}`.
            draw: 0; nothing is drawn here.

        Raises:
            ArgumentError: A template has no `{labels}`.
        """
        choices = [Prompt(name=prompt.name, text=template) for template in templates_of(prompt, LABEL_CAPTIONER)]
        return [_sentence(choices[stable_hash(sound.key) % len(choices)], sound) for sound in sounds]


def templates_of(prompt: Prompt, captioner: str) -> list[str]:
    """The templates of a prompt, one a line.

    Args:
        prompt: The prompt.
        captioner: Who takes them, for the error's text.

    Raises:
        ArgumentError: One has no `{labels}`.
    """
    templates = [line.strip() for line in prompt.text.splitlines() if line.strip()]
    for template in templates:
        if PLACEHOLDER not in template:
            raise ArgumentError(
                f"captioner {captioner!r} takes templates with {PLACEHOLDER}, one a line; "
                f"prompt {prompt.name} has {template[:60]!r}: give a prompt such as {LABEL_PROMPT}"
            )
    return templates


def _sentence(template: Prompt, sound: Sound) -> str | ClipError:
    try:
        text = template.filled(sound.labels)
    except ClipError as error:
        return error
    return text[0].upper() + text[1:]
