"""The program that downloads one section of a video with yt-dlp and ffmpeg; `curation/download/section.py` runs it.

Run by path and with `python -I` in a scratch folder of its own, so it imports nothing of ours. It reads `REQUEST` there
and leaves `ANSWER` and one file, `original.*`. Whatever goes wrong is printed on standard error.
"""

import json
import sys
from pathlib import Path

from yt_dlp import YoutubeDL
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError, download_range_func

REQUEST, ANSWER = "request.json", "answer.json"


class Silence:
    """A logger for yt-dlp: its errors come as exceptions too."""

    def debug(self, message: str) -> None:
        """Dropped."""

    def warning(self, message: str) -> None:
        """Dropped."""

    def error(self, message: str) -> None:
        """Dropped."""


def main() -> int:
    """Download what the request says: `info` as the extractor gave it, `options`, `start_s` and `end_s`, and
    which of the things that yt-dlp knows then are `wanted` in the answer."""
    request = json.loads(Path(REQUEST).read_bytes())
    FFmpegPostProcessor._ffmpeg_location.set(request["options"]["ffmpeg_location"])  # not only the option is asked
    ranges = download_range_func(None, [(request["start_s"], request["end_s"])])
    downloader = YoutubeDL({**request["options"], "logger": Silence(), "download_ranges": ranges})
    try:
        done = downloader.process_ie_result(request["info"], download=True)
    except YoutubeDLError as error:
        print(error, file=sys.stderr)
        return 1
    Path(ANSWER).write_text(json.dumps({name: done.get(name) for name in request["wanted"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
