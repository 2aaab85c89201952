"""Inception v3 of FID: the published size and names, and pools that leave the border out."""

import numpy as np
import pytest
import torch

from models.encoders.inception import Inception, InceptionNetwork, pooled


def test_the_published_size_and_names():
    with torch.device("meta"):
        network = InceptionNetwork()
    # of torchvision's 27,161,264 without the 3,326,696 of the auxiliary classifier and the 2,049,000 of the last layer
    assert sum(one.numel() for one in network.parameters()) == 27_161_264 - 3_326_696 - 2_049_000
    names = set(network.state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch5x5_2.bn.running_var"} <= names
    assert {"Mixed_6e.branch7x7dbl_5.conv.weight", "Mixed_7c.branch3x3dbl_3b.conv.weight"} <= names


def test_a_mean_at_the_border_is_over_what_is_there():
    torch.testing.assert_close(pooled(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_a_file_is_read_and_sees_pictures_of_any_size(tmp_path):
    torch.manual_seed(0)
    state = InceptionNetwork().state_dict()
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, tmp_path / "a.pth")
    eye = Inception.from_pretrained(tmp_path / "a.pth")
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((40, 50, 3), (299, 299, 3))]
    found = eye.embed_picture(shown)
    assert found.shape == (2, 2048) and found.isfinite().all()
    exact = torch.from_numpy(shown[1]).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(found[1:], eye.network(exact), rtol=1e-4, atol=1e-4)
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="is no Inception of FID"):
        Inception.from_pretrained(tmp_path / "a.pth")
