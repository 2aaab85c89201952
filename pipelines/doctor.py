"""What is installed, how old it is, what is missing, and the line that repairs it: verdicts over facts of a machine.

Nothing here looks at anything: `pipelines/examination.py` gathers the facts, and each check is a function of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from curation.errors import ArgumentError
from curation.programs.espeak import INSTALL
from pipelines.machine import Machine

OLD_DAYS, TOO_OLD_DAYS = 60, 90
"""Age of yt-dlp at which it is warned of, and at which YouTube is not asked any more. Source: ours; platforms change
every few weeks, and an old version fails in ways that look like dead videos."""

LOW_DISK_BYTES, NO_DISK_BYTES = 50 * 10**9, 10**9
"""Free disk below which it is warned of, and below which nothing should be begun. Source: ours; 200,000 clips of 10 s
with pictures are 200 to 400 GB, and a commit of every stage is far below 1 GB."""

OLDEST_DENO = Version("2.3.0")
"""Source: yt-dlp 2026.8, `DenoJsRuntime.MIN_SUPPORTED_VERSION`."""

BROKEN_RANGES = "8.1"
"""The ffmpeg whose range downloads fail. Source: yt-dlp's issue 16546."""

FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")
"""Distributions that all own the import name `faiss`, so that exactly one may be there."""

HARMFUL_WHEN_BROKEN = {
    "torchvision": "transformers' image and video processors",
    "torchaudio": "transformers' audio models",
    "torchcodec": "the datasets library",
}
"""Optional package -> what fails to import where it is installed and does not load itself."""

NOT_OFFERED = frozenset({"cpu", "gpu", "cuvs", "dev", "laion-clap"})
"""Extras of which nothing is said here: FAISS is a check of its own, `dev` is for the tests, and laion-clap wants an
older NumPy, so an environment of its own."""


class Verdict(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        about: What it is, in a word or two.
        verdict: Fine, worth a warning, or broken.
        text: What was found.
        repair: The line that repairs it, or None.
    """

    about: str
    verdict: Verdict
    text: str
    repair: str | None = None


def ytdlp_age_days(version: str, today: date) -> int | None:
    """Days since a yt-dlp was published, which its version says (`2026.8.19`, `2026.8.19.232811.dev0`); None if not."""
    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?!\d)", version)
    try:
        return (today - date(*map(int, match.groups()))).days if match else None
    except ValueError:
        return None


def require_recent_ytdlp(version: str, today: date) -> None:
    """Refuse to ask YouTube with a yt-dlp that is too old.

    Args:
        version: Of yt-dlp.
        today: The date.

    Raises:
        ArgumentError: It is older than `TOO_OLD_DAYS`.
    """
    age_days = ytdlp_age_days(version, today)
    if age_days is not None and age_days > TOO_OLD_DAYS:
        raise ArgumentError(
            f"yt-dlp {version} is {age_days} days old, and after {TOO_OLD_DAYS} days YouTube's changes look like dead "
            "videos; renew it with `pip install --upgrade 'yt-dlp[default,deno]'`, or say --allow-old-ytdlp"
        )


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _plain(requirement: Requirement) -> str:
    """A requirement as pip takes it, without its condition."""
    return str(requirement).partition(";")[0].strip()


def _unmet(machine: Machine, requirements: Sequence[Requirement]) -> list[str]:
    """What is not there, or too old, in words."""
    unmet = []
    for requirement in requirements:
        found = machine.packages.get(canonicalize_name(requirement.name))
        if found is None:
            unmet.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(found, prereleases=True):
            unmet.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    return unmet


def _packages(machine: Machine) -> Iterator[Finding]:
    needed = [r for text in machine.requirements if _applies(r := Requirement(text), "")]
    if not needed:
        text, repair = "foundsound is not installed as a package", f"{machine.pip} install --editable '.[cpu]'"
        yield Finding(about="packages", verdict=Verdict.BROKEN, text=text, repair=repair)
        return
    unmet = _unmet(machine, needed)
    if unmet:
        wrong = {text.split()[0] for text in unmet}
        again = sorted(_plain(r) for r in needed if r.name in wrong)
        yield Finding(about="packages", verdict=Verdict.BROKEN, text="; ".join(unmet), repair=machine.install(*again))
        return
    yield Finding(about="packages", verdict=Verdict.OK, text=f"all {len(needed)} that are required")
    names = {canonicalize_name(r.name) for r in needed}
    other = [
        f"{name} {machine.packages[name]} ({pin})"
        for name, pin in sorted(machine.tested.items())
        if name in names
        and (found := _public(machine.packages[name])) is not None
        and not Requirement(f"{name}{pin}").specifier.contains(found, prereleases=True)
    ]
    if other:
        yield Finding(
            about="tested versions",
            verdict=Verdict.WARNING,
            text=f"installed (tested): {', '.join(other)}",
            repair=f"{machine.pip} install --constraint {machine.constraints} {' '.join(o.split()[0] for o in other)}",
        )


def _public(version: str) -> str | None:
    """A version without its local part (`+cu130`); None for what is no version."""
    try:
        return Version(version).public
    except InvalidVersion:
        return None


def _ytdlp(machine: Machine) -> Iterator[Finding]:
    version = machine.packages.get("yt-dlp")
    if version is None:
        return  # a required package: said there
    age_days = ytdlp_age_days(version, machine.today)
    repair = machine.install("yt-dlp[default,deno]")
    about = "yt-dlp"
    if age_days is None:
        yield Finding(about=about, verdict=Verdict.WARNING, text=f"{version}: its date is not known", repair=repair)
    elif age_days > TOO_OLD_DAYS:
        text = f"{version} is {age_days} days old: `fetch --from youtube` refuses it after {TOO_OLD_DAYS}; mirrors work"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair=repair)
    elif age_days > OLD_DAYS:
        text = f"{version} is {age_days} days old; YouTube changes every few weeks"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair=repair)
    else:
        yield Finding(about=about, verdict=Verdict.OK, text=f"{version}, {max(age_days, 0)} days old")


def _javascript(machine: Machine) -> Iterator[Finding]:
    about, repair = "JavaScript", machine.install("yt-dlp[default,deno]")
    lacks = "without it yt-dlp loses formats of YouTube"
    if machine.deno is None:
        yield Finding(about=about, verdict=Verdict.WARNING, text=f"no deno runtime; {lacks}", repair=repair)
    elif "yt-dlp-ejs" not in machine.packages:
        yield Finding(about=about, verdict=Verdict.WARNING, text=f"yt-dlp-ejs is missing; {lacks}", repair=repair)
    elif Version(machine.deno) < OLDEST_DENO:
        text = f"deno {machine.deno} is older than {OLDEST_DENO}, which yt-dlp wants"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair=repair)
    else:
        yield Finding(about=about, verdict=Verdict.OK, text=f"deno {machine.deno}")


def _ffmpeg(machine: Machine) -> Iterator[Finding]:
    about, repair, ffmpeg = "ffmpeg", machine.install("imageio-ffmpeg"), machine.ffmpeg
    if ffmpeg is None:
        yield Finding(about=about, verdict=Verdict.BROKEN, text="there is none", repair=repair)
        return
    if ffmpeg.version is None:
        yield Finding(about=about, verdict=Verdict.BROKEN, text=f"{ffmpeg.path} does not run", repair=repair)
        return
    if ffmpeg.missing:
        text = f"{ffmpeg.version} at {ffmpeg.path} lacks {', '.join(ffmpeg.missing)}"
        yield Finding(about=about, verdict=Verdict.BROKEN, text=text, repair=f"unset IMAGEIO_FFMPEG_EXE; {repair}")
        return
    numbers = re.match(r"n?(\d+(?:\.\d+)*)", ffmpeg.version)
    if numbers and (numbers[1] == BROKEN_RANGES or numbers[1].startswith(f"{BROKEN_RANGES}.")):
        text = f"{ffmpeg.version} fails at downloading ranges of a video; whole videos work"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair=repair)
    else:
        yield Finding(about=about, verdict=Verdict.OK, text=ffmpeg.version)


def _espeak(machine: Machine) -> Iterator[Finding]:
    about = "eSpeak NG"
    if machine.espeak is None:
        text = "there is none; recipes and prompts of speech need it, nothing else does"
        yield Finding(about=about, verdict=Verdict.OK, text=text, repair=INSTALL)
    else:
        yield Finding(about=about, verdict=Verdict.OK, text=machine.espeak)


def _faiss(machine: Machine) -> Iterator[Finding]:
    about = "FAISS"
    there = [name for name in FAISS if name in machine.packages]
    wanted = "faiss-gpu" if machine.torch.devices else "faiss-cpu"
    if not there:
        text = "none of its flavours is installed; search needs one"
        yield Finding(about=about, verdict=Verdict.BROKEN, text=text, repair=machine.install(wanted))
    elif len(there) > 1:
        text = f"{' and '.join(there)} are both installed and overwrite each other's files"
        repair = f"{machine.pip} uninstall --yes {' '.join(there)} && {machine.install(wanted)}"
        yield Finding(about=about, verdict=Verdict.BROKEN, text=text, repair=repair)
    elif trouble := machine.imports.get("faiss"):
        text = f"{there[0]} {machine.packages[there[0]]} cannot be imported: {trouble}"
        repair = f"{machine.pip} install --force-reinstall --no-deps {there[0]}"
        yield Finding(about=about, verdict=Verdict.BROKEN, text=text, repair=repair)
    else:
        note = (
            " (searches on the CPU, though there is a GPU)" if machine.torch.devices and there == ["faiss-cpu"] else ""
        )
        yield Finding(about=about, verdict=Verdict.OK, text=f"{there[0]} {machine.packages[there[0]]}{note}")


def _torch(machine: Machine) -> Iterator[Finding]:
    about, torch = "torch", machine.torch
    version = machine.packages.get("torch", "")
    again = f"{machine.pip} install --force-reinstall torch"
    if torch.trouble:
        text = f"{version} cannot be imported: {torch.trouble}"
        yield Finding(about=about, verdict=Verdict.BROKEN, text=text, repair=again)
    elif torch.devices:
        names = ", ".join(torch.devices)
        yield Finding(about=about, verdict=Verdict.OK, text=f"{version}, CUDA {torch.cuda}, sees {names}")
    elif machine.driver and torch.cuda is None:
        text = f"{version} is a CPU build, and this machine has an NVIDIA driver ({machine.driver})"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair=again)
    elif machine.driver:
        text = f"{version} for CUDA {torch.cuda} sees no GPU, though there is a driver ({machine.driver})"
        yield Finding(about=about, verdict=Verdict.WARNING, text=text, repair="nvidia-smi")
    else:
        yield Finding(about=about, verdict=Verdict.OK, text=f"{version}, no GPU on this machine")


def _unloadable(machine: Machine) -> Iterator[Finding]:
    for name, victim in HARMFUL_WHEN_BROKEN.items():
        if trouble := machine.imports.get(name):
            text = f"it is installed, cannot be imported, and takes {victim} with it: {trouble}"
            repair = f"{machine.pip} uninstall --yes {name}"
            yield Finding(about=name, verdict=Verdict.BROKEN, text=text, repair=repair)


def _disk(machine: Machine) -> Iterator[Finding]:
    free = f"{machine.free_bytes / 10**9:.1f} GB free at {machine.folder}"
    if machine.free_bytes < NO_DISK_BYTES:
        verdict, more = Verdict.BROKEN, ": nothing can be written for long"
    elif machine.free_bytes < LOW_DISK_BYTES:
        verdict, more = Verdict.WARNING, "; 1,000 clips of 10 s with pictures take 1 to 2 GB"
    else:
        verdict, more = Verdict.OK, ""
    repair = None if verdict is Verdict.OK else f"du -xh --max-depth 2 {machine.folder} | sort -h | tail"
    yield Finding(about="disk", verdict=verdict, text=free + more, repair=repair)


def _hub(machine: Machine) -> Iterator[Finding]:
    hub = machine.hub
    if hub.offline:
        text = "offline, as HF_HUB_OFFLINE says; models come from folders and the cache"
        yield Finding(about="Hub", verdict=Verdict.OK, text=text)
    elif hub.answer is None:
        yield Finding(about="Hub", verdict=Verdict.OK, text=f"{hub.endpoint} was not asked (--network asks it)")
    elif hub.reached:
        yield Finding(about="Hub", verdict=Verdict.OK, text=f"{hub.endpoint}: {hub.answer}")
    else:
        text = f"{hub.endpoint}: {hub.answer}; models can be given as folders"
        repair = "export HF_ENDPOINT=https://A-MIRROR   # or HF_HUB_OFFLINE=1 to never ask"
        yield Finding(about="Hub", verdict=Verdict.WARNING, text=text, repair=repair)


def _extras(machine: Machine) -> Iterator[Finding]:
    wanted = [Requirement(text) for text in machine.requirements]
    named = {extra for r in wanted if r.marker for extra in re.findall(r'extra == "([^"]+)"', str(r.marker))}
    for extra in sorted(named - NOT_OFFERED):
        its = [r for r in wanted if _applies(r, extra) and not _applies(r, "")]
        unmet = _unmet(machine, its)
        text = f"not used here: {'; '.join(unmet)}" if unmet else "there"
        repair = machine.install(*map(_plain, its)) if unmet else None
        yield Finding(about=f"optional {extra}", verdict=Verdict.OK, text=text, repair=repair)


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    _packages,
    _ytdlp,
    _javascript,
    _ffmpeg,
    _espeak,
    _faiss,
    _torch,
    _unloadable,
    _disk,
    _hub,
    _extras,
)


def findings(machine: Machine) -> list[Finding]:
    """All that there is to say about a machine, in a fixed order."""
    return [finding for check in CHECKS for finding in check(machine)]
