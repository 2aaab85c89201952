"""Each verdict of `doctor` on facts that are given, one just inside and one just outside each bound."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from curation.errors import ArgumentError
from pipelines import main as program
from pipelines.doctor import (
    LOW_DISK_BYTES,
    NO_DISK_BYTES,
    OLD_DAYS,
    TOO_OLD_DAYS,
    Finding,
    Verdict,
    findings,
    require_recent_ytdlp,
    ytdlp_age_days,
)
from pipelines.examination import ask_hub, read_constraints, this_machine
from pipelines.machine import Ffmpeg, Hub, Machine, Torch
from pipelines.verbs.doctor import DoctorResult

TODAY = date(2026, 11, 21)

HEALTHY = Machine(
    today=TODAY,
    pip="python -m pip",
    packages={
        "torch": "2.13.0+cu130",
        "yt-dlp": "2026.11.1",
        "yt-dlp-ejs": "0.8.0",
        "imageio-ffmpeg": "0.8.1",
        "faiss-cpu": "1.15.1",
    },
    requirements=("torch>=2.11", "yt-dlp[default,deno]>=2026.8.19", "faiss-cpu>=1.12; extra == 'cpu'"),
    tested={"torch": "==2.13.0", "yt-dlp": ">=2026.8.19"},
    imports={"faiss": None},
    deno="2.9.8",
    ffmpeg=Ffmpeg(path="/bin/ffmpeg", version="n9.0.2-17-g2a571b6068"),
    espeak="1.51",
    free_bytes=LOW_DISK_BYTES,
)


def found(about: str, **changes: Any) -> Finding:
    """The one finding about something on a machine that differs from the healthy one."""
    (one,) = (finding for finding in findings(replace(HEALTHY, **changes)) if finding.about == about)
    return one


def packages(**changes: str | None) -> dict[str, str]:
    changed = {**HEALTHY.packages, **{name.replace("_", "-"): version for name, version in changes.items()}}
    return {name: version for name, version in changed.items() if version is not None}


def check(finding: Finding, verdict: Verdict, text: str, repair: str | None = None) -> None:
    assert (finding.verdict, text in finding.text) == (verdict, True), finding
    assert (repair is None) == (finding.repair is None) and (repair or "") in (finding.repair or ""), finding


def test_a_healthy_machine_has_nothing_to_repair() -> None:
    assert {finding.verdict for finding in findings(HEALTHY)} == {Verdict.OK}
    assert [finding.repair for finding in findings(HEALTHY) if finding.repair] == []
    assert DoctorResult(findings(HEALTHY)).exit_code == 0


def version_of_age(days: int) -> str:
    published = TODAY - timedelta(days=days)
    return f"{published.year}.{published.month}.{published.day}"


def test_ytdlp_ages() -> None:
    assert ytdlp_age_days("2026.08.19", TODAY) == 94 == ytdlp_age_days("2026.8.19.232811.dev0", TODAY)
    assert ytdlp_age_days("2027.1.1", TODAY) == -41
    assert [ytdlp_age_days(version, TODAY) for version in ("1.2", "2026.13.1", "unknown")] == [None, None, None]
    for days, verdict in ((OLD_DAYS, Verdict.OK), (OLD_DAYS + 1, Verdict.WARNING), (TOO_OLD_DAYS, Verdict.WARNING)):
        finding = found("yt-dlp", packages=packages(yt_dlp=version_of_age(days)))
        assert (finding.verdict, "refuses" in finding.text) == (verdict, False)
    old = found("yt-dlp", packages=packages(yt_dlp=version_of_age(TOO_OLD_DAYS + 1)))
    check(old, Verdict.WARNING, "91 days old: `fetch --from youtube` refuses", "--upgrade 'yt-dlp[default,deno]'")
    check(found("yt-dlp", packages=packages(yt_dlp="9")), Verdict.WARNING, "not known", "yt-dlp")


def test_youtube_is_refused_to_an_old_ytdlp_and_to_no_other() -> None:
    require_recent_ytdlp(version_of_age(TOO_OLD_DAYS), TODAY)
    require_recent_ytdlp("from a branch", TODAY)
    with pytest.raises(ArgumentError, match="is 91 days old"):
        require_recent_ytdlp(version_of_age(TOO_OLD_DAYS + 1), TODAY)


def test_required_packages() -> None:
    check(found("packages", packages=packages(torch=None)), Verdict.BROKEN, "torch is missing", "'torch>=2.11'")
    old = found("packages", packages=packages(torch="2.10.9", yt_dlp="2026.8.18"))
    check(old, Verdict.BROKEN, "torch is 2.10.9, not >=2.11; yt-dlp is 2026.8.18", "'torch>=2.11' 'yt-dlp[d")
    check(found("packages", packages=packages(torch="2.11")), Verdict.OK, "all 2")
    check(found("packages", requirements=()), Verdict.BROKEN, "not installed as a package", "--editable")


def test_versions_beside_the_tested_ones() -> None:
    """A local part, as of CUDA builds, is no difference; what foundsound does not ask for is not looked at."""
    abouts = {finding.about for finding in findings(replace(HEALTHY, tested={"torch": "==2.13.0", "six": "==1"}))}
    assert "tested versions" not in abouts
    other = found("tested versions", tested={"torch": "==2.14.0"})
    check(other, Verdict.WARNING, "torch 2.13.0+cu130 (==2.14.0)", "install --constraint constraints.txt torch")


def test_javascript() -> None:
    check(found("JavaScript", deno=None), Verdict.WARNING, "no deno runtime", "yt-dlp[default,deno]")
    check(found("JavaScript", deno="2.2.9"), Verdict.WARNING, "older than 2.3.0", "deno")
    check(found("JavaScript", deno="2.3.0"), Verdict.OK, "2.3.0")
    check(found("JavaScript", packages=packages(yt_dlp_ejs=None)), Verdict.WARNING, "yt-dlp-ejs is missing", "yt-dlp")


def test_espeak_is_wanted_by_speech_alone() -> None:
    check(
        found("eSpeak NG", espeak=None),
        Verdict.OK,
        "there is none; recipes and prompts of speech",
        "apt-get install espeak-ng",
    )
    check(found("eSpeak NG", espeak="1.51"), Verdict.OK, "1.51")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("8.1", Verdict.WARNING),
        ("8.1.2", Verdict.WARNING),
        ("n8.1-4-gabc", Verdict.WARNING),
        ("8.0.1", Verdict.OK),
        ("8.10", Verdict.OK),
        ("18.1", Verdict.OK),
        ("N-121000-g1a2b", Verdict.OK),
    ],
)
def test_ffmpeg_81_breaks_ranges(version: str, verdict: Verdict) -> None:
    finding = found("ffmpeg", ffmpeg=Ffmpeg(path="/bin/ffmpeg", version=version))
    assert (finding.verdict, "ranges" in finding.text) == (verdict, verdict is Verdict.WARNING)


def test_ffmpeg_that_cannot_be_used() -> None:
    check(found("ffmpeg", ffmpeg=None), Verdict.BROKEN, "there is none", "imageio-ffmpeg")
    check(found("ffmpeg", ffmpeg=Ffmpeg(path="/x", version=None)), Verdict.BROKEN, "/x does not run", "imageio-ffmpeg")
    poor = Ffmpeg(path="/x", version="7", missing=("libx264",))
    check(found("ffmpeg", ffmpeg=poor), Verdict.BROKEN, "lacks libx264", "unset IMAGEIO_FFMPEG_EXE")


def test_exactly_one_faiss() -> None:
    check(found("FAISS", packages=packages(faiss_cpu=None)), Verdict.BROKEN, "none of its flavours", "'faiss-cpu'")
    both = found("FAISS", packages=packages(faiss_gpu="1.15.1"))
    check(both, Verdict.BROKEN, "faiss-cpu and faiss-gpu", "uninstall --yes faiss-cpu faiss-gpu && ")
    check(found("FAISS", imports={"faiss": "no symbol"}), Verdict.BROKEN, "no symbol", "--force-reinstall")
    gpu = Torch(cuda="13.0", devices=("H200",))
    assert "searches on the CPU" in found("FAISS", torch=gpu).text
    assert found("FAISS", packages=packages(faiss_cpu=None), torch=gpu).repair == (
        "python -m pip install --upgrade 'faiss-gpu'"
    )


def test_torch_and_the_gpu() -> None:
    check(found("torch"), Verdict.OK, "no GPU on this machine")
    check(found("torch", torch=Torch(trouble="no libcudart")), Verdict.BROKEN, "no libcudart", "reinstall torch")
    check(found("torch", driver="580.9"), Verdict.WARNING, "is a CPU build", "reinstall torch")
    check(found("torch", driver="580.9", torch=Torch(cuda="13.0")), Verdict.WARNING, "sees no GPU", "nvidia-smi")
    good = Torch(cuda="13.0", devices=("NVIDIA H200",))
    check(found("torch", driver="580.9", torch=good), Verdict.OK, "CUDA 13.0, sees NVIDIA H200")


def test_a_broken_torchvision_is_to_go() -> None:
    broken = found("torchvision", imports={"torchvision": "operator nms does not exist"})
    check(broken, Verdict.BROKEN, "operator nms", "uninstall --yes torchvision")
    assert [
        one for one in findings(replace(HEALTHY, imports={"torchvision": None})) if one.about == "torchvision"
    ] == []


def test_free_disk() -> None:
    assert found("disk", free_bytes=LOW_DISK_BYTES).verdict is Verdict.OK
    check(found("disk", free_bytes=LOW_DISK_BYTES - 1), Verdict.WARNING, "50.0 GB free", "du -xh")
    assert found("disk", free_bytes=NO_DISK_BYTES).verdict is Verdict.WARNING
    check(found("disk", free_bytes=NO_DISK_BYTES - 1), Verdict.BROKEN, "nothing can be written", "du -xh")


def test_the_hub() -> None:
    where = "https://hub.example"
    check(found("Hub", hub=Hub(endpoint=where)), Verdict.OK, f"{where} was not asked")
    check(found("Hub", hub=Hub(endpoint=where, offline=True)), Verdict.OK, "offline")
    check(found("Hub", hub=Hub(endpoint=where, answer="answers (200)", reached=True)), Verdict.OK, "answers (200)")
    check(found("Hub", hub=Hub(endpoint=where, answer="does not answer")), Verdict.WARNING, "folders", "HF_ENDPOINT")


def test_optional_packages_are_never_more_than_a_note() -> None:
    wants = (*HEALTHY.requirements, "s3fs>=2025.1; extra == 's3'", "ruff; extra == 'dev'")
    check(found("optional s3", requirements=wants), Verdict.OK, "s3fs is missing", "'s3fs>=2025.1'")
    check(found("optional s3", requirements=wants, packages=packages(s3fs="2026.9.0")), Verdict.OK, "there")
    assert "optional dev" not in {finding.about for finding in findings(replace(HEALTHY, requirements=wants))}


def test_constraints_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# tested\nTyping_Extensions==4.1  # why\n\n-r other.txt\nyt-dlp>=2026.8.19\n")
    assert read_constraints(file) == {"typing-extensions": "==4.1", "yt-dlp": ">=2026.8.19"}
    assert read_constraints(tmp_path / "none.txt") == {}


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/models?limit=1" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_hub_is_asked_only_when_told_and_allowed(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_hub(network=False) == Hub(endpoint=hub)
    assert ask_hub(network=True) == Hub(endpoint=hub, answer="answers (200)", reached=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ask_hub(network=True) == Hub(endpoint=hub, offline=True)


def test_a_hub_that_is_not_there_is_said_to_be(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub}/elsewhere")
    assert ask_hub(network=True).answer == "answers with 404"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in str(ask_hub(network=True).answer)
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    assert "no web address" in str(ask_hub(network=True).answer)


def test_this_machine_has_what_the_tests_need(tmp_path: Path) -> None:
    here = this_machine(tmp_path / "not" / "made" / "yet")
    assert (here.folder, here.free_bytes > 0) == (str(tmp_path), True)
    assert here.ffmpeg is not None and here.ffmpeg.version and not here.ffmpeg.missing
    assert [one.text for one in findings(here) if one.verdict is Verdict.BROKEN and one.about != "disk"] == []


def test_the_program_ends_with_1_where_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = HEALTHY
    monkeypatch.setattr("pipelines.verbs.doctor.this_machine", lambda folder, network: machine)
    assert program.main(["doctor"]) == 0
    assert "0 broken" in capsys.readouterr().out
    machine = replace(HEALTHY, ffmpeg=None)
    assert program.main(["doctor", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    (ffmpeg,) = (one for one in printed["findings"] if one["about"] == "ffmpeg")
    assert printed["broken"] and ffmpeg["verdict"] == "broken" and "imageio-ffmpeg" in ffmpeg["repair"]
