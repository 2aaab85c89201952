"""Conditions of prompts and neighbours, the streams they become, and the encoders that make them."""

import pytest
import torch

from models.encoders.audiomae import AudioMae
from models.re_audioldm.conditioning import Conditions, EncoderSources, Neighbour, streams_of
from tests.models.re_audioldm.tiny_re_audioldm import conditions, save_sources


def neighbour(value, tokens=2):
    return Neighbour(heard_LH=torch.full((2, 8), value), text_NT=torch.full((tokens, 8), value))


def test_a_stream_begins_with_what_stands_for_nothing_and_goes_on_neighbour_by_neighbour():
    given = conditions()
    streams = streams_of(given, torch.full((8,), 5.0), torch.full((8,), 7.0), 3)
    heard, text = streams.heard, streams.text
    assert heard.tokens_BLC.shape == (4, 1 + 2 * 2, 8) and text.tokens_BLC.shape == (4, 1 + 2 * 3, 8)
    assert (heard.tokens_BLC[:, 0] == 5).all() and (text.tokens_BLC[:, 0] == 7).all()
    torch.testing.assert_close(heard.tokens_BLC[0, 3], given.heard_BKLH[0, 1, 0])
    torch.testing.assert_close(text.tokens_BLC[0, 4], given.text_BKNT[0, 1, 0])
    shown = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert heard.mask_BL.int().tolist() == shown
    lengths = [[1, 1, 1, 0, 1, 1, 1], [1, 1, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]
    assert text.mask_BL.int().tolist() == lengths, "a caption of four tokens is cut at three"


def test_streams_of_captions_have_one_length_however_short_they_are():
    nothing = torch.zeros(8)
    short = streams_of(Conditions.of_neighbours(torch.ones(1, 16), [[neighbour(1.0)]]), nothing, nothing, 5).text
    assert short.tokens_BLC.shape == (1, 1 + 5, 8) and short.mask_BL.int().tolist() == [[1, 1, 1, 0, 0, 0]]


def test_what_was_found_for_each_prompt_is_laid_side_by_side():
    given = Conditions.of_neighbours(torch.ones(3, 16), [[neighbour(1.0), neighbour(2.0, 4)], [], [neighbour(3.0, 1)]])
    assert given.has_BK.tolist() == [[True, True], [False, False], [True, False]]
    assert given.text_lengths_BK.tolist() == [[2, 4], [0, 0], [1, 0]]
    assert given.heard_BKLH[:, :, 0, 0].tolist() == [[1, 2], [0, 0], [3, 0]]
    assert given.text_BKNT[0, :, :, 0].tolist() == [[1, 1, 0, 0], [2, 2, 2, 2]]
    assert Conditions.of_neighbours(torch.ones(2, 16), [[], []]).has_BK is None
    wordless = Conditions.of_neighbours(torch.ones(1, 16), [[neighbour(1.0, 0)]])
    assert wordless.has_BK.tolist() == [[True]] and wordless.text_lengths_BK.tolist() == [[0]]
    with pytest.raises(ValueError, match="2 prompts and neighbours of 1"):
        Conditions.of_neighbours(torch.ones(2, 16), [[]])


def test_rows_and_those_beside_them_are_the_samples_they_were():
    given = conditions()
    part = given.rows(slice(1, 3)).beside(given.rows(slice(0, 1)))
    assert torch.equal(part.said_BS, given.said_BS[[1, 2, 0]])
    assert torch.equal(part.text_BKNT, given.text_BKNT[[1, 2, 0]])
    nothing = Conditions(said_BS=torch.ones(2, 16))
    assert nothing.beside(nothing).said_BS.shape == (4, 16) and nothing.rows(slice(0, 1)).heard_BKLH is None


def test_encoders_come_back_from_a_models_folder(tmp_path):
    sources = save_sources(tmp_path)
    (tmp_path / "model").mkdir()
    told = sources.save(tmp_path / "model")
    assert (told["clap"], told["listener"], told["text"]["path"]) == ("clap", "listener", "text_encoder")
    found = EncoderSources.from_saved(told, tmp_path / "model")
    first, second = sources.encoders(), found.encoders()
    assert torch.equal(first.said(["rain falls", " "]), second.said(["rain falls", " "]))
    said = first.said(["rain falls", " "])
    torch.testing.assert_close(said.norm(dim=1), torch.tensor([1.0, 0.0]))
    wave_R = torch.sin(torch.arange(20_000) / 5.0)
    heard, again = first.neighbour(wave_R, "rain falls"), second.neighbour(wave_R, "rain falls")
    assert torch.equal(heard.heard_LH, again.heard_LH) and torch.equal(heard.text_NT, again.text_NT)
    listener = AudioMae.from_pretrained(sources.listener)
    cut = listener.language_of_audio(wave_R[None, :8_000])[0]
    assert listener.longest_samples > 8_000 and torch.equal(heard.heard_LH, cut), "half a second, as in training"
    hidden, mask = first.text.text_tokens(["rain falls"])
    assert torch.equal(heard.text_NT, hidden[0][mask[0]])
    assert first.neighbour(wave_R, " ").text_NT.shape == (0, 8)


def test_a_model_that_reads_no_neighbours_needs_no_more_than_clap(tmp_path):
    sources = save_sources(tmp_path, reads=False)
    (tmp_path / "model").mkdir()
    found = EncoderSources.from_saved(sources.save(tmp_path / "model"), tmp_path / "model")
    assert found.listener is None and found.text is None
    with pytest.raises(ValueError, match="reads no neighbours"):
        found.encoders().neighbour(torch.zeros(100), "rain")
    with pytest.raises(ValueError, match="give both, or neither"):
        EncoderSources(clap="clap", listener="audiomae", text=None)
