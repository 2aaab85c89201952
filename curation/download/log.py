"""What yt-dlp says beside its errors: its warnings are kept, nothing is printed."""

from collections import deque

KEPT = 50
"""How many warnings are kept. Source: ours; yt-dlp gives those that concern the whole session only once."""


class Log:
    """The last warnings of one session, as the logger that yt-dlp asks for."""

    def __init__(self) -> None:
        self.warnings: deque[str] = deque(maxlen=KEPT)

    def debug(self, message: str) -> None:
        """Progress and notes: dropped."""

    def info(self, message: str) -> None:
        """Notes: dropped."""

    def warning(self, message: str) -> None:
        """Kept, once each."""
        if message not in self.warnings:
            self.warnings.append(message)

    def error(self, message: str) -> None:
        """Errors come as exceptions too: dropped."""
