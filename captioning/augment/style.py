"""How a caption is to be written: a style and a length, filled into a prompt.

Source: ours. `plain` is how AudioCaps and Clotho describe, `vivid` adds texture and space, as AudioX's later captions
do, `prompt` is how people ask a generator. Lengths are those of AudioCaps (mean 9 words), Clotho (8 to 20) and
AudioSetCaps (about 30).
"""

from captioning.prompt import LENGTH, LONGEST_CHARACTERS, STYLE, Prompt
from curation.errors import ArgumentError

STYLES = {
    "plain": "Write plainly and in the present tense: who or what sounds, what it does, and in which order.",
    "vivid": "Write vividly: also what the sounds are like, how near and how loud they are, and how they change.",
    "prompt": "Write it as one would ask for the sound: sources and actions in short phrases, separated by commas, "
    "without whole sentences.",
}
"""Style -> what is asked for."""

LENGTHS = {
    "short": "Use at most 10 words.",
    "medium": "Use one sentence of 10 to 20 words.",
    "long": "Use two or three sentences of 25 to 50 words in all.",
}
"""Length -> what is asked for."""


def styled(prompt: Prompt, style: str, length: str) -> Prompt:
    """The prompt with style and length in their places; its hash is then of both, too.

    Args:
        prompt: With `{facts}`, and `{style}` and `{length}` where it wants them.
        style: A key of `STYLES`.
        length: A key of `LENGTHS`.

    Raises:
        ArgumentError: There is no such style or length, or the prompt has no place for facts.
    """
    for given, known, what in ((style, STYLES, "style"), (length, LENGTHS, "length")):
        if given not in known:
            raise ArgumentError(f"--{what} is one of {', '.join(known)}, not {given!r}")
    if not prompt.wants_facts:
        raise ArgumentError(f"prompt {prompt.name} has no {{facts}}: give one that has, such as augment-v1")
    text = prompt.text.replace(STYLE, STYLES[style]).replace(LENGTH, LENGTHS[length])
    if len(text) > LONGEST_CHARACTERS:
        raise ArgumentError(f"prompt {prompt.name} is too long once its style is filled in")
    return Prompt(name=prompt.name, text=text)
