"""Inception v3 as the Fréchet inception distance (FID) has it: features of pictures, 2048 numbers each.

It takes the weights that FID is measured with, `pt_inception-2015-12-05-6726825d.pth` of mseitzer/pytorch-fid
(Apache-2.0), which are TensorFlow's of 2015 under torchvision's names. Where those differ from torchvision's network it
is as TensorFlow's: mean pools leave the border out, and the last block pools by maximum.

Source: C. Szegedy et al. 2015 (arXiv 1512.00567); M. Heusel et al. 2017 (arXiv 1706.08500).

Shapes: B pictures, C channels, H and W pixels, D numbers of a vector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.encoders.hub_file import weights_at
from models.encoders.published_file import read_plain
from models.weights import sha256_of_files

SIDE_PX, DIMENSION = 299, 2048
PREPROCESSING_VERSION = 1


class ConvBlock(nn.Module):
    """A convolution, batch normalisation, ReLU."""

    def __init__(
        self, inner: int, outer: int, kernel: int | tuple[int, int], stride: int = 1, padding: Any = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=1e-3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return torch.as_tensor(self.bn(self.conv(x_BCHW)).relu())


def pooled(x_BCHW: Tensor) -> Tensor:
    """The mean of 3 x 3 places, of those that there are."""
    return nn.functional.avg_pool2d(x_BCHW, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35 places: 1 x 1, 5 x 5, two 3 x 3, and a pool."""

    def __init__(self, inner: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBlock(inner, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = ConvBlock(inner, 48, 1), ConvBlock(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvBlock(inner, 64, 1)
        self.branch3x3dbl_2, self.branch3x3dbl_3 = ConvBlock(64, 96, 3, padding=1), ConvBlock(96, 96, 3, padding=1)
        self.branch_pool = ConvBlock(inner, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 35, 35) -> (B, 224 + pool, 35, 35)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(pooled(x))], 1
        )


class BlockB(nn.Module):
    """From 35 x 35 places to 17 x 17."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3 = ConvBlock(inner, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvBlock(inner, 64, 1), ConvBlock(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvBlock(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 35, 35) -> (B, C + 480, 17, 17)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17 places: 7 x 7 by rows and columns, once and twice."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        row: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = ConvBlock(inner, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = ConvBlock(inner, width, 1), ConvBlock(width, width, **row)
        self.branch7x7_3 = ConvBlock(width, 192, **column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = ConvBlock(inner, width, 1), ConvBlock(width, width, **column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = ConvBlock(width, width, **row), ConvBlock(width, width, **column)
        self.branch7x7dbl_5 = ConvBlock(width, 192, **row)
        self.branch_pool = ConvBlock(inner, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 768, 17, 17) -> the same."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(pooled(x))], 1)


class BlockD(nn.Module):
    """From 17 x 17 places to 8 x 8."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = ConvBlock(inner, 192, 1), ConvBlock(192, 320, 3, 2)
        self.branch7x7x3_1 = ConvBlock(inner, 192, 1)
        self.branch7x7x3_2 = ConvBlock(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvBlock(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvBlock(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 17, 17) -> (B, C + 512, 8, 8)."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8 places, with branches that part again."""

    def __init__(self, inner: int, *, by_maximum: bool) -> None:
        super().__init__()
        row: dict[str, Any] = {"kernel": (1, 3), "padding": (0, 1)}
        column: dict[str, Any] = {"kernel": (3, 1), "padding": (1, 0)}
        self.by_maximum = by_maximum
        self.branch1x1 = ConvBlock(inner, 320, 1)
        self.branch3x3_1 = ConvBlock(inner, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = ConvBlock(384, 384, **row), ConvBlock(384, 384, **column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvBlock(inner, 448, 1), ConvBlock(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = ConvBlock(384, 384, **row), ConvBlock(384, 384, **column)
        self.branch_pool = ConvBlock(inner, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 8, 8) -> (B, 2048, 8, 8)."""
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        around = nn.functional.max_pool2d(x, 3, 1, 1) if self.by_maximum else pooled(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(around)]
        return torch.cat(parts, 1)


class InceptionNetwork(nn.Module):
    """All but the classifier, under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvBlock(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvBlock(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvBlock(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvBlock(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvBlock(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = BlockC(768, 128), BlockC(768, 160), BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, by_maximum=False), BlockE(2048, by_maximum=True)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Pictures from -1 to 1, 299 x 299 -> (B, 2048), the mean over all places."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x_B3HW)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(nn.functional.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(nn.functional.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return torch.as_tensor(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3)))


class Inception:
    """A frozen network. Make one with `from_pretrained`."""

    def __init__(self, network: InceptionNetwork, *, weights_sha256: str) -> None:
        """Takes a loaded network and the hex digest of its file."""
        self.network = network.eval().requires_grad_(False)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Loads the published file, read as tensors only.

        Raises:
            OSError: There is no such file.
            ValueError: It holds something else.
        """
        file = weights_at(path, ())
        try:
            held = read_plain(file)
            state = {name: one for name, one in held.items() if not name.startswith("fc.")}
            network = InceptionNetwork()
            network.load_state_dict(state)
        except (RuntimeError, ValueError, AttributeError) as error:
            told = " ".join(str(error).split())[:300]
            raise ValueError(f"{file} is no Inception of FID, pt_inception-2015-12-05-6726825d.pth: {told}") from error
        return cls(network.to(device), weights_sha256=sha256_of_files([file]))

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {"class": "Inception", "weights_sha256": self._weights_sha256, "preprocessing": PREPROCESSING_VERSION}

    @torch.no_grad()
    def embed_picture(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Pictures of any sizes, uint8 (H, W, 3) -> float32 (B, D): squeezed to 299 x 299 by bilinear interpolation."""
        device = next(self.network.parameters()).device
        sized = [
            nn.functional.interpolate(
                torch.tensor(one).permute(2, 0, 1)[None].float() / 255,
                (SIDE_PX, SIDE_PX),
                mode="bilinear",
                align_corners=False,
            )
            for one in pictures
        ]
        return torch.as_tensor(self.network(2 * torch.cat(sized).to(device) - 1))
