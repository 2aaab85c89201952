"""`foundsound doctor`: what is installed, how old, what is missing, and the line that repairs it."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.doctor import Finding, Verdict, findings
from pipelines.examination import this_machine


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """What was found, in a fixed order."""

    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """1 if something is broken, else 0."""
        return int(any(finding.verdict is Verdict.BROKEN for finding in self.findings))

    def as_dict(self) -> dict[str, Any]:
        """Whether all is well, and every finding: about, verdict, text, repair."""
        return {"broken": bool(self.exit_code), "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.verdict:<8} {finding.about:<20} {finding.text}")
            lines += [f"{'':<29} {finding.repair}"] if finding.repair else []
        counts = Counter(finding.verdict for finding in self.findings)
        return "\n".join([*lines, ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)])


def doctor(folder: Path = Path(), /, *, network: bool = False) -> DoctorResult:
    """Check packages and their age, ffmpeg, FAISS, GPU and disk; what is wrong comes with the line that repairs it.

    Exit code 1 if something is broken, 0 if there are only warnings.

    Args:
        folder: Where data would go; its free space is looked at.
        network: Ask the Hugging Face Hub whether it can be reached; otherwise nothing leaves this machine.
    """
    return DoctorResult(findings(this_machine(folder, network=network)))
