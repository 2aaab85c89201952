"""The kinds of lists that can be read: for each its reader, what may be said about it, and the note on its licence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from curation.lists import audiocaps, audioset, audiox, musiccaps, table, v2m, vggsound
from curation.lists.listfile import ListFile
from curation.lists.row import Entry
from curation.lists.sieve import SureLines


@dataclass(frozen=True, kw_only=True, slots=True)
class ListKind:
    """One kind of list.

    Args:
        read: From the file to its rows and rejects, in the order of the file.
        takes: Which of `split`, `media_root` and `labels_file` may be given for it.
        sure: The plain form that nearly all of its lines have; None where there is none.
        sure_in: The same for lists whose header says it; without either every line goes to `read`.
        segment_ms: Length of the clips that whole videos are cut into, ms; 0: one clip, the whole length.
        licence: Under which terms the list itself stands; the media are their uploaders' in every case.
    """

    read: Callable[[ListFile], Iterator[Entry]]
    takes: frozenset[str]
    sure: SureLines | None = None
    sure_in: Callable[[ListFile], SureLines | None] | None = None
    segment_ms: int = 0
    licence: str


KINDS: dict[str, ListKind] = {
    "vggsound": ListKind(
        read=vggsound.read,
        sure=vggsound.SURE,
        takes=frozenset(),
        licence="VGGSound: CC BY 4.0 (University of Oxford); videos are their uploaders'",
    ),
    "audiocaps": ListKind(
        read=audiocaps.read,
        takes=frozenset({"split"}),
        licence="AudioCaps: captions for academic use, repository MIT; videos are their uploaders'",
    ),
    "v2m": ListKind(
        read=v2m.read,
        sure=v2m.SURE,
        takes=frozenset({"split"}),
        segment_ms=v2m.SEGMENT_MS,
        licence="V2M: see the VidMuse project for its terms; videos are their uploaders'",
    ),
    "musiccaps": ListKind(
        read=musiccaps.read,
        takes=frozenset({"split"}),
        licence="MusicCaps: CC BY-SA 4.0 (Google); videos are their uploaders'",
    ),
    "audioset": ListKind(
        read=audioset.read,
        takes=frozenset({"split", "labels_file"}),
        licence="AudioSet: CC BY 4.0, ontology CC BY-SA 4.0 (Google); videos are their uploaders'",
    ),
    "audiox": ListKind(
        read=audiox.read,
        takes=frozenset({"split", "media_root"}),
        licence="a list in AudioX's layout: whoever brought it knows its terms",
    ),
    "table": ListKind(
        read=table.read,
        sure_in=table.sure_lines,
        takes=frozenset({"split", "media_root"}),
        licence="a list of one's own: whoever brought it knows its terms",
    ),
}
