"""Texts as YouTube and yt-dlp give them, each with a thread that quotes it."""

import errno
import sys

import pytest
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from curation.download.reasons import reason, stopped
from curation.errors import ClipError, Code, StoppedError

LOGIN = (
    " Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies. "
    "Also see  https://github.com/yt-dlp/yt-dlp/wiki/Extractors#exporting-youtube-cookies  for tips on effectively "
    "exporting YouTube cookies"
)
LIMITED = (
    "The current session has been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to "
    "add a delay between video requests to avoid exceeding the rate limit. For more information, refer to  "
    "https://github.com/yt-dlp/yt-dlp/wiki/Extractors#this-content-isnt-available-try-again-later"
)
UNAVAILABLE = "Video unavailable. "

SPOKEN = [
    # yt-dlp#14095, #17702; meeb/tubesync#478; vididataset/VIDI#1
    ("Video unavailable", Code.NOT_FOUND),
    ("Video unavailable.", Code.NOT_FOUND),
    (UNAVAILABLE + "This video is not available", Code.NOT_FOUND),  # youtube-dl#28883
    ("This video is unavailable.", Code.NOT_FOUND),  # youtube-dl#22566
    ("This video does not exist.", Code.NOT_FOUND),
    (UNAVAILABLE + "This content isn\u2019t available.", Code.UNKNOWN),  # yt-dlp#14095: comes and goes with the proxy
    (UNAVAILABLE + "This video has been removed by the uploader", Code.REMOVED),  # vididataset/VIDI#1
    ("This video has been removed for violating YouTube's Terms of Service", Code.REMOVED),  # youtube-dl-gui#554
    (
        "This video has been removed because it violates YouTube's Community Guidelines.",
        Code.REMOVED,
    ),  # cyweb/hammer#22
    (UNAVAILABLE + "This video isn't available anymore", Code.REMOVED),
    (
        UNAVAILABLE
        + "This video is no longer available because the YouTube account associated with this video has been "
        "terminated.",  # vididataset/VIDI#1
        Code.REMOVED,
    ),
    (
        UNAVAILABLE
        + "This video is no longer available because the YouTube account associated with this video has been "
        "terminated due to multiple third-party notifications of copyright infringement.",
        Code.REMOVED,
    ),
    (
        UNAVAILABLE + "This video is no longer available because the uploader has closed their YouTube account.",
        Code.REMOVED,
    ),
    (
        UNAVAILABLE + "This video is no longer available due to a copyright claim by Sarah Ann Kennedy",
        Code.COPYRIGHT,
    ),  # meeb/tubesync#478
    (
        "This video contains content from WMG, who has blocked it on copyright grounds.",
        Code.COPYRIGHT,
    ),  # youtube-dl#23015
    (
        "This video contains content from Mosfilm, who has blocked it from display on this website or application. "
        "Watch on YouTube",  # youtube-dl#26712
        Code.COPYRIGHT,
    ),
    (
        UNAVAILABLE + "This video contains content from SME, who has blocked it in your country on copyright grounds",
        Code.GEO,
    ),  # yt-dlp#11067
    (
        UNAVAILABLE + "The uploader has not made this video available in your country",
        Code.GEO,
    ),  # Hitomi-Downloader#4948
    ("Private video. Sign in if you've been granted access to this video." + LOGIN, Code.PRIVATE),  # yt-dlp#2027
    (
        "This video is private. If the owner of this video has granted you access, please sign in." + LOGIN,
        Code.PRIVATE,
    ),
    ("Sign in to confirm your age. This video may be inappropriate for some users." + LOGIN, Code.AGE),  # yt-dlp#11086
    (
        "Sign in to confirm your age. The video you have requested has been rated TV-14 and may contain content "
        "intended for mature audiences.",  # Hitomi-Downloader#4486
        Code.AGE,
    ),
    ("Sign in to confirm you\u2019re not a bot." + LOGIN, Code.BOT_CHECK),
    ("Please sign in. YouTube is requiring a captcha challenge before playback", Code.BOT_CHECK),
    (UNAVAILABLE + "This content isn't available, try again later. " + LIMITED, Code.RATE_LIMITED),  # yt-dlp#11426
    ("All player responses are invalid. Your IP is likely being blocked by Youtube", Code.RATE_LIMITED),
    (
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
        Code.MEMBERS_ONLY,
    ),  # yt-dlp#8694
    (
        "This video is available to this channel's members on level: Assistant (or any higher level). Join this "
        "channel to get access to members-only content and other exclusive perks.",  # yt-dlp#14949
        Code.MEMBERS_ONLY,
    ),
    ("This video is only available to Music Premium members", Code.MEMBERS_ONLY),  # yt-dlp#1383
    ("This video requires payment to watch", Code.MEMBERS_ONLY),
    ("Premieres in 59 minutes", Code.LIVE),  # yt-dlp#782
    ("Premiere will begin shortly", Code.LIVE),
    ("This live event will begin in 2 days.", Code.LIVE),
    ("This live event has ended.", Code.LIVE),
    ("This live stream recording is not available.", Code.LIVE),
    ("This video is DRM protected", Code.NO_FORMAT),
    (
        "Requested format is not available. Use --list-formats for a list of available formats",
        Code.NO_FORMAT,
    ),  # jely2002/youtube-dl-gui#702
    ("Playback on other websites has been disabled by the video owner", Code.UNKNOWN),
    ("The following content is not available on this app.. Watch on the latest version of YouTube.", Code.UNKNOWN),
    ("No video formats found!", Code.UNKNOWN),
]


def raised(error: Exception, *, prefix: str = "ERROR: ") -> DownloadError:
    """The `DownloadError` that yt-dlp makes of an error."""
    try:
        raise error
    except type(error):
        return DownloadError(f"{prefix}{error}", sys.exc_info())


@pytest.mark.parametrize(("text", "code"), SPOKEN)
def test_what_youtube_says(text: str, code: Code) -> None:
    error = raised(ExtractorError(text, expected=True, video_id="3z0IT3bXm_E", ie="youtube"))
    found = reason(error, of_youtube=True)
    assert isinstance(found, ClipError)
    assert found.code is code
    assert found.detail == text.partition(" Use --")[0].partition(" It is recommended")[0]


@pytest.mark.parametrize(("text", "code"), SPOKEN)
def test_what_a_web_server_says_is_not_read(text: str, code: Code) -> None:
    """Anyone can put such words into an address."""
    found = reason(raised(ExtractorError(text, expected=True)), of_youtube=False)
    assert isinstance(found, ClipError)
    assert found.code is Code.UNKNOWN


def test_details_are_plain() -> None:
    """Without what the row says already, and without advice about another program's options."""
    text = "ERROR: [generic] dead: Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404>)"
    assert str(reason(DownloadError(text), of_youtube=False)) == (
        "NOT_FOUND: Unable to download webpage: HTTP Error 404: Not Found"
    )


def test_geo_by_its_type() -> None:
    found = reason(raised(GeoRestrictedError("Not here", countries=["DE"])), of_youtube=True)
    assert isinstance(found, ClipError)
    assert found.code is Code.GEO


@pytest.mark.parametrize(
    "warning",
    [
        "[youtube] a: n challenge solving failed: Some formats may be missing. Ensure you have a supported JavaScript "
        "runtime and challenge solver script distribution installed.",
        "[youtube] a: Some ios client https formats have been skipped as they are missing a URL. YouTube may have "
        "enabled the SABR-only streaming experiment for the current session.",
        "[youtube] a: ios client https formats require a GVS PO Token which was not provided.",
        "[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default",
    ],
)
def test_withheld_formats_are_not_a_fault_of_the_video(warning: str) -> None:
    error = raised(ExtractorError("Requested format is not available. Use --list-formats", expected=True))
    found = reason(error, said=["something else", warning], of_youtube=True)
    assert isinstance(found, ClipError)
    assert found.code is Code.UNKNOWN
    assert "withheld" in found.detail


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unable to download video data: HTTP Error 403: Forbidden", Code.FORBIDDEN),
        (
            "[youtube] a: Unable to download API page: HTTP Error 404: Not Found (caused by <HTTPError 404>)",
            Code.NOT_FOUND,
        ),
        ("[youtube] a: Unable to download API page: HTTP Error 429: Too Many Requests", Code.RATE_LIMITED),
        ("\r[download] Got error: HTTP Error 503: Service Unavailable. Giving up after 2 retries", Code.NETWORK),
        ("\r[download] Got error: [Errno 104] Connection reset by peer. Giving up after 2 retries", Code.NETWORK),
        ("\r[download] Got error: The read operation timed out. Giving up after 2 retries", Code.TIMEOUT),
        ("\r[download] Got error: 512 bytes read, 88 more expected. Giving up after 2 retries", Code.TRUNCATED),
        ("\r[download] Got error: Downloaded 512 bytes, expected 600 bytes", Code.TRUNCATED),
        ("Did not get any data blocks", Code.TRUNCATED),
        ("Postprocessing: Error opening input files: Invalid data found when processing input", Code.UNREADABLE),
        ("\x1b[0;31mERROR:\x1b[0m something new", Code.UNKNOWN),
    ],
)
@pytest.mark.parametrize("of_youtube", [True, False])
def test_technical_failures(text: str, code: Code, of_youtube: bool) -> None:
    found = reason(DownloadError(f"ERROR: {text}", (None, None, None)), of_youtube=of_youtube)
    assert isinstance(found, ClipError)
    assert found.code is code
    assert "\x1b" not in found.detail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_machine_failures_stop(number: int) -> None:
    error = raised(OSError(number, "no more"))
    assert isinstance(reason(error, of_youtube=True), StoppedError)
    assert isinstance(stopped(error), StoppedError)
    assert stopped(raised(OSError(errno.ECONNRESET, "reset"))) is None


@pytest.mark.parametrize(
    "text",
    [
        "Postprocessing: Error writing trailer: No space left on device",
        "You have requested merging of multiple formats but ffmpeg is not installed. Aborting due to --abort-on-error",
    ],
)
def test_machine_failures_in_words_stop(text: str) -> None:
    assert isinstance(reason(DownloadError(text), of_youtube=True), StoppedError)
