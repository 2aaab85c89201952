"""`foundsound retry`: ask again for what was set aside."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import FINAL_CODES, ArgumentError, Code
from curation.reopen import reopen
from pipelines.verbs.result import codes_text

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What was opened again, by code."""

    stage: str
    opened: Counter[str]

    def as_dict(self) -> dict[str, Any]:
        """Stage and counts."""
        return {"stage": self.stage, "opened": dict(sorted(self.opened.items()))}

    def __str__(self) -> str:
        if not self.opened:
            return f"{self.stage}: nothing set aside fits; what an earlier stage lost is opened there, with --stage"
        final = sum(count for code, count in self.opened.items() if code in FINAL_CODES)
        said = f"; {final} of them had a final code" if final else ""
        total = sum(self.opened.values())
        return f"{self.stage}: {total} opened again ({codes_text(dict(self.opened))}){said}; the next run tries them"


def age_s(text: str) -> float:
    """An age as `7d`, `12h`, `30m`, `45s` or `2w`, in s.

    Raises:
        ArgumentError: It is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ArgumentError(f"--older-than {text!r}: write an age as 7d, 12h or 30m")
    return float(match[1]) * _UNITS_S[match[2]]


def retry(dataset: Path, /, *, code: tuple[str, ...] = (), older_than: str = "0s", stage: str = "fetch") -> RetryResult:
    """Open again what was set aside, so that the next run of the stage tries it with fresh attempts.

    Args:
        dataset: Folder of the dataset.
        code: Which code, as FORBIDDEN; give it again for each further one. A final code may be named too. All passing
            codes when not given.
        older_than: Only what was set aside at least so long ago: 7d, 12h, 30m.
        stage: Which stage, as fetch, cut or caption.
    """
    given = [code] if isinstance(code, str) else code
    unknown = [text for text in given if text not in Code.__members__]
    if unknown:
        raise ArgumentError(f"--code {unknown[0]!r} is not known; codes are {', '.join(Code)}")
    opened = reopen(Dataset(dataset), stage, codes=[Code(text) for text in given], older_than_s=age_s(older_than))
    return RetryResult(stage, opened)
