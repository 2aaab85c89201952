from collections.abc import Callable
from pathlib import Path

from curation.lists import musiccaps
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]


def test_aspects_become_labels_and_captions_keep_their_line_ends(write: Write) -> None:
    rows = [
        """aaaaaaaaaaa,30,40,"/m/04rlf","['sad', ""it's slow"", 'sad']","First line.\nSecond, line.",4,False,True""",
        """bbbbbbbbbbb,30,25,/m/04rlf,['sad'],A song,4,False,True""",
        """ccccccccccc,30,40,/m/04rlf,__import__('os'),A song,4,False,True""",
        """ddddddddddd,30,40,/m/04rlf,[1],A song,4,False,True""",
        """eeeeeeeeeee,0,10,/m/04rlf,[],A song,4,False,True""",
    ]
    content = "\n".join([",".join(musiccaps.COLUMNS), *rows])
    entries = list(musiccaps.read(ListFile(path=write("musiccaps.csv", content))))
    good = [entry for entry in entries if isinstance(entry, ListRow)]
    assert [row.line for row in good] == [2, 7]
    assert good[0].labels == ("sad", "it's slow")
    assert good[0].captions == ("First line.\nSecond, line.",)
    assert (good[0].start_ms, good[0].duration_ms) == (30_000, 10_000)
    rejects = {entry.line: entry.reason for entry in entries if isinstance(entry, Reject)}
    assert sorted(rejects) == [4, 5, 6]
    assert "not after" in rejects[4]
    assert "aspect_list" in rejects[5]
