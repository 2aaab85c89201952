"""`foundsound forget`: a takedown of videos or channels."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioning.cache import CAPTION_CACHE, AnswerCache
from curation.dataset import Dataset
from curation.storage import cache_folder
from curation.takedowns.forget import Forgotten
from curation.takedowns.forget import forget as forget_names

SHOWN = 40
"""Lines of what was touched that are shown; `--json` has all of them."""


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What a takedown came to."""

    forgotten: Forgotten
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """What is denied, what was touched, what is to be made again."""
        return {**asdict(self.forgotten), "dry_run": self.dry_run}

    def __str__(self) -> str:
        done = self.forgotten
        would = "would be " if self.dry_run else ""
        lines = [f"{would}denied: {len(done.videos):,} videos, {len(done.channels):,} channels"]
        lines += [f"  {name!r} is not in the dataset; denied all the same" for name in done.unknown]
        lines += [f"  {one.kind}: {one.place}: {one.what}" for one in done.touched[:SHOWN]]
        if len(done.touched) > SHOWN:
            lines.append(f"  and {len(done.touched) - SHOWN:,} more; --json has all")
        lines += [f"make it again: {line}" for line in dict.fromkeys(done.again)]
        return "\n".join([*lines, *done.notes])


def forget(dataset: Path, /, *names: str, reason: str = "", dry_run: bool = False) -> ForgetResult:
    """Take videos or channels down: deny them for ever, and remove all that was made of them, shards included.

    Args:
        dataset: Folder of the dataset.
        names: Ids of videos or channels (or URLs or paths of rows); write `--` before one that begins with `-`. A video
            of YouTube goes with every address and file that is called for it. Without any name, an interrupted call is
            ended, and videos go that were found to be of a denied channel since.
        reason: Why, kept in the deny list.
        dry_run: Only list what would be touched.
    """
    file = cache_folder() / CAPTION_CACHE
    cache = AnswerCache(file) if file.is_file() else None
    from retrieval_index.change import drop

    cached = (cache.count if dry_run else cache.forget) if cache else None
    done = forget_names(Dataset(dataset), names, reason=reason, dry_run=dry_run, cached=cached, drop=drop)
    return ForgetResult(done, dry_run)
