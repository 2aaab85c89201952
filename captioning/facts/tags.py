"""The captioner `tags`: a sentence from AudioSet's classes that a tagger heard, by the templates of a prompt file.

It says nothing of a clip whose tags are all weak, and of a class and a kind of it only the kind.
"""

from collections.abc import Sequence

from captioning.captioner import CaptionerIdentity, Sound
from captioning.facts.audioset import narrowest
from captioning.facts.phrases import phrase
from captioning.labels import templates_of
from captioning.prompt import PLACEHOLDER, Prompt, listed
from curation.errors import ClipError, Code
from curation.keys import stable_hash

TAG_CAPTIONER = "tags"
TAG_PROMPT = "tags-v1"
"""Templates used when no others are asked for."""

MAX_SAID = 3
"""So many classes are said at most. Source: ours; a sentence names about so many sources of sound."""


class TagCaptioner:
    """Fills what is heard in a clip into a template; of several templates, one a line, the clip's id picks one."""

    def identity(self) -> CaptionerIdentity:
        """No model, and no sound but by the tags that it is handed."""
        return CaptionerIdentity(name=TAG_CAPTIONER, version=1)

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """A sentence for each clip, `NO_LABEL` for one of which the tags say nothing.

        Args:
            sounds: The clips; their labels are the tags that are strong enough, best first.
            prompt: One template a line, each with `{labels}`.
            draw: 0; nothing is drawn here.

        Raises:
            ArgumentError: A template has no `{labels}`.
        """
        templates = templates_of(prompt, TAG_CAPTIONER)
        return [_sentence(templates[stable_hash(sound.key) % len(templates)], sound.labels) for sound in sounds]


def said(tags: Sequence[str]) -> list[str]:
    """What is said of tags, best first: the narrowest classes, each phrase once, at most `MAX_SAID`."""
    phrases = dict.fromkeys(words for name in narrowest(tags) if (words := phrase(name)) is not None)
    return list(phrases)[:MAX_SAID]


def _sentence(template: str, tags: Sequence[str]) -> str | ClipError:
    phrases = said(tags)
    if not phrases:
        only = f"only {', '.join(tags)[:200]}" if tags else "nothing"
        return ClipError(Code.NO_LABEL, f"the tags say {only} with a score that is high enough")
    text = template.replace(PLACEHOLDER, listed(phrases))
    return text[0].upper() + text[1:]
