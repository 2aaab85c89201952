"""The writer behind a server: what it is asked, and what its answers are worth."""

from captioning.augment.chat_writer import ChatWriter, identity_of
from captioning.captioner import Sound
from captioning.decoding import Decoding, Drawing
from captioning.prompt import Prompt
from captioning.server.chat_server import ChatServer
from curation.errors import ClipError, Code
from tests.captioning.augment.text_server import TextServer, text_server

PROMPT = Prompt(name="made-v1", text="Write:\n{facts}")
DECODING = Decoding(max_new_tokens=40, drawing=Drawing(draws=1))


def writer(server: TextServer) -> ChatWriter:
    return ChatWriter(ChatServer.at(server.url, concurrency=4, decoding=DECODING))


def test_the_facts_are_asked_about_as_text() -> None:
    with text_server(lambda question, _: f'"{question.splitlines()[-1]}"') as server:
        clips = [Sound(key=str(number), labels=("Rain.", f"Dog {number}.")) for number in range(5)]
        assert writer(server).caption(clips, PROMPT) == [f"- Dog {number}." for number in range(5)]
        (first,) = (body for body in server.asked if "Dog 0" in body["messages"][0]["content"])
    assert first["messages"] == [{"role": "user", "content": "Write:\n- Rain.\n- Dog 0."}]
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("made/Writer", 40, 0)


def test_a_draw_has_a_seed_of_its_own() -> None:
    with text_server(lambda *_: "Rain.") as server:
        writer(server).caption([Sound(key="a", labels=("Rain.",))], PROMPT, 1)
    assert (server.asked[0]["seed"], server.asked[0]["temperature"]) == (1, 0.7)


def test_a_busy_server_is_asked_again_and_a_bare_clip_never() -> None:
    with text_server(lambda _, before: 429 if before == 0 else "Rain.") as server:
        bare, rain = writer(server).caption([Sound(key="a"), Sound(key="b", labels=("Rain.",))], PROMPT)
        assert isinstance(bare, ClipError) and bare.code is Code.NO_LABEL
        assert rain == "Rain." and len(server.asked) == 2


def test_its_identity_is_that_of_the_server_without_ears() -> None:
    with text_server(lambda *_: "Rain.") as server:
        of = ChatServer.at(server.url, concurrency=4, decoding=DECODING)
        assert ChatWriter(of).identity() == identity_of(of)
        assert not identity_of(of).listens and identity_of(of).model == "made/Writer"
