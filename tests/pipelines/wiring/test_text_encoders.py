"""Text encoders as the stage `encode_text` has them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.wiring.text_encoders import encode_text_stage, load_text_encoder, text_source
from tests.models.audiox.tiny_audiox import save_t5


def test_texts_come_out_as_they_do_alone_and_unpadded(tmp_path: Path) -> None:
    encoder = load_text_encoder(text_source(str(save_t5(tmp_path / "t5"))))
    texts = ["rain", "a dog barks on the roof", "\t"]
    found = encoder.encode_text(texts)
    assert [one.shape for one in found] == [(1, 8), (6, 8), (1, 8)] and not found[2].any()
    hidden, _ = encoder.encoder.text_tokens([texts[1]])
    np.testing.assert_array_equal(found[1], hidden[0].numpy())
    np.testing.assert_array_equal(encoder.encode_text(texts[1:])[0], found[1])


def test_other_weights_or_another_tokenizer_are_another_stage(tmp_path: Path) -> None:
    dataset, folder = Dataset.create(tmp_path / "dataset"), save_t5(tmp_path / "t5")
    name = encode_text_stage(dataset, text_source(str(folder)), called="tiny").folder_name
    assert encode_text_stage(dataset, text_source(str(save_t5(tmp_path / "moved"))), called="tiny").folder_name == name
    tensors = load_file(folder / "model.safetensors")
    key = sorted(tensors)[0]
    save_file({**tensors, key: tensors[key] + torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    other = encode_text_stage(dataset, text_source(str(folder)), called="tiny").folder_name
    tokenizer = json.loads((tmp_path / "moved" / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {"rain": tokenizer["model"]["vocab"]["dog"], "dog": 99}
    (tmp_path / "moved" / "tokenizer.json").write_text(json.dumps(tokenizer))
    third = encode_text_stage(dataset, text_source(str(tmp_path / "moved")), called="tiny").folder_name
    assert len({name, other, third}) == 3


def test_what_is_no_text_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ArgumentError, match="is of kind 'bert'; give a CLAP or a T5"):
        text_source(str(tmp_path))
    with pytest.raises(ArgumentError, match="no text encoder can be loaded from"):
        text_source(str(tmp_path / "nothing"))
