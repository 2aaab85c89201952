"""The words of the quickstart's world: captions to learn from, and queries that no caption repeats.

A sentence is a subject and an action of its class, four of each. Captions use every pair except those with equal
numbers; the queries are exactly those. So a query is a new sentence, in which every word was learned with its class: a
network that is trained from nothing on this corpus knows no other word. It is a test of recombined wording, not of
unseen words.
"""

PHRASES: dict[str, tuple[tuple[str, str, str, str], tuple[str, str, str, str]]] = {
    "rising chirp": (
        ("a whistle", "an electronic chirp", "a pure tone", "a laser sound"),
        (
            "sweeping upwards again and again",
            "that keeps rising",
            "gliding up in pitch",
            "which climbs higher repeatedly",
        ),
    ),
    "falling chirp": (
        ("a slide whistle", "a synthetic chirp", "a smooth tone", "a cartoon missile"),
        (
            "sweeping downwards again and again",
            "that keeps falling",
            "gliding down in pitch",
            "which drops lower repeatedly",
        ),
    ),
    "beep train": (
        ("a beeper", "an electronic timer", "a reversing truck", "a microwave oven"),
        (
            "beeping steadily on one note",
            "giving short regular beeps",
            "that beeps several times a second",
            "making evenly spaced beeps",
        ),
    ),
    "two-tone siren": (
        ("a siren", "an emergency alarm", "an ambulance", "a two-tone horn"),
        (
            "alternating between two tones",
            "that jumps between a high and a low note",
            "switching back and forth between two pitches",
            "wailing high and low in turn",
        ),
    ),
    "pulsing hum": (
        ("a deep hum", "an electric motor", "a bass drone", "a transformer"),
        ("throbbing slowly", "that swells and fades", "pulsing in loudness", "humming with a slow tremolo"),
    ),
    "noise bursts": (
        ("bursts of noise", "puffs of steam", "a rushing hiss", "static"),
        (
            "with pauses in between",
            "coming and going abruptly",
            "heard in separate gusts",
            "cut into chunks by silence",
        ),
    ),
    "click train": (
        ("a fast clock", "a metronome", "a geiger counter", "a row of sharp clicks"),
        ("ticking rapidly", "clicking without a pause", "that makes dry ticks", "tapping at a quick constant pace"),
    ),
    "plucked notes": (
        ("a guitar", "a harp", "a plucked string", "a kalimba"),
        (
            "playing a little melody",
            "whose notes ring and die away",
            "picking single notes",
            "plucking different decaying notes",
        ),
    ),
}
"""Label -> (subjects, actions)."""

QUERIES: dict[str, list[str]] = {
    label: [f"{subject} {action}" for subject, action in zip(*parts, strict=True)] for label, parts in PHRASES.items()
}
"""Label -> the four sentences that are held out of all captions."""

CAPTIONS_PER_CLIP = 3


def captions_of(label: str, number: int) -> tuple[str, ...]:
    """The captions of a class's clip, chosen by the clip's number so that four clips use every allowed pair once.

    Args:
        label: One of `PHRASES`.
        number: Number of the clip within its class, 0 or more.

    Returns:
        `CAPTIONS_PER_CLIP` different sentences, none of them a query.
    """
    subjects, actions = PHRASES[label]
    pairs = (((number + shift) % 4, (number + 2 * shift + 1) % 4) for shift in range(CAPTIONS_PER_CLIP))
    return tuple(f"{subjects[i]} {actions[j]}" for i, j in pairs)
