"""A training step of AudioX's transformer against diffusers' `StableAudioDiTModel` of the same sizes, both compiled.

The same inputs, precision, batch and optimizer (fused AdamW); that both are the same function is held by
`tests/models/audiox/test_published.py`. Beside it, how much of the speed of bare matrix products at the network's own
shapes a step reaches, and on a GPU the share of the device's peak (MFU) of the base recipe's transformer at 10 s.

    python -m benchmarks.dit        on a GPU; needs only torch, diffusers, transformers and numpy; writes
                                    benchmarks/results/dit-DEVICE.json
"""

import json
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import Measured
from benchmarks._diffusion_step import flops_of
from models.audiox.network import AudioXConfig, AudioXTransformer
from models.audiox.published import transformer_config
from models.training.execution import Execution, prepare_blocks
from models.training.flops import peak_flops

FRAMES, TOKENS, GLOBAL = 215, 258, 1536
"""Of 10 s of latents, and of 128 tokens of video, 128 of text and two of time."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the network and the batch."""

    width: int
    depth: int
    heads: int
    context_width: int
    batch: int
    rounds: int


CPU = Sizes(width=512, depth=4, heads=8, context_width=256, batch=4, rounds=5)
GPU = Sizes(width=1536, depth=24, heads=24, context_width=768, batch=16, rounds=20)
CHANNELS = 64


def measure() -> Measured:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = GPU if device.type == "cuda" else CPU
    ways = {name: stepping(make(sizes).to(device), sizes, device) for name, make in (("ours", ours), ("peer", peer))}
    for way in ways.values():
        for _ in range(3):
            way()
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(sizes.rounds):
        for name, way in ways.items():
            best[name] = min(best[name], timed(way, device))
    flops = step_flops(sizes, device)
    products = products_flops_per_s(sizes, device)
    found: Measured = {
        "ratio": best["peer"] / best["ours"],
        "peer": "diffusers.StableAudioDiTModel, torch.compile(fullgraph=True), the same sizes",
        "ratio_to_bare_products": flops / best["ours"] / products,
        "step_s": best["ours"],
        "peer_step_s": best["peer"],
        "tflop_per_s": flops / best["ours"] / 1e12,
        "bare_products_tflop_per_s": products / 1e12,
        "parameters_million": sum(one.numel() for one in ours(sizes).parameters()) / 1e6,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
    }
    if (peak := peak_flops(device)) is not None:
        found["mfu"] = flops / best["ours"] / peak
        found["memory_gb"] = torch.cuda.max_memory_allocated(device) / 1024**3
    return found


def ours(sizes: Sizes) -> nn.Module:
    """AudioX's transformer in the form of the published weights."""
    told = {
        "io_channels": CHANNELS,
        "embed_dim": sizes.width,
        "depth": sizes.depth,
        "num_heads": sizes.heads,
        "cond_token_dim": sizes.context_width,
        "global_cond_dim": GLOBAL,
        "project_cond_tokens": False,
        "transformer_type": "continuous_transformer",
    }
    config = AudioXConfig(
        **transformer_config(told), text_width=sizes.context_width, frame_width=sizes.context_width, frame_patches=1
    )
    return AudioXTransformer(config)


def peer(sizes: Sizes) -> nn.Module:
    """diffusers' transformer."""
    from diffusers import StableAudioDiTModel

    head = sizes.width // sizes.heads
    return StableAudioDiTModel(
        sample_size=FRAMES,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=sizes.depth,
        attention_head_dim=head,
        num_attention_heads=sizes.heads,
        num_key_value_attention_heads=sizes.context_width // head,
        cross_attention_dim=sizes.context_width,
        cross_attention_input_dim=sizes.context_width,
        global_states_input_dim=GLOBAL,
    )


def predicting(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """The forward pass of either network, compiled, from the same arguments."""
    if isinstance(network, AudioXTransformer):
        prepare_blocks(network, Execution(compile=True))

        def ours_predicts(x_BFD: Tensor, t_B: Tensor, context_BLC: Tensor, global_BG: Tensor) -> Tensor:
            return network(x_BFD, t_B, context_BLC, None, global_BG)  # type: ignore[no-any-return]

        return ours_predicts
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    head = network.config.attention_head_dim  # type: ignore[union-attr]
    rotary = get_1d_rotary_pos_embed(head // 2, FRAMES + 1, use_real=True, repeat_interleave_real=False)
    rotary = tuple(one.to(device) for one in rotary)
    compiled = torch.compile(network, fullgraph=True)

    def peer_predicts(x_BFD: Tensor, t_B: Tensor, context_BLC: Tensor, global_BG: Tensor) -> Tensor:
        inputs = (x_BFD.transpose(1, 2), t_B, context_BLC, global_BG[:, None])
        return compiled(*inputs, rotary_embedding=rotary, return_dict=False)[0].transpose(1, 2)  # type: ignore[no-any-return]

    return peer_predicts


def inputs_of(sizes: Sizes, device: torch.device) -> list[Tensor]:
    """Latents, times, condition tokens, a global condition, and the target."""
    generator = torch.Generator().manual_seed(0)
    shapes: tuple[tuple[int, ...], ...] = (
        (sizes.batch, FRAMES, CHANNELS), (sizes.batch,), (sizes.batch, TOKENS, sizes.context_width),
        (sizes.batch, GLOBAL), (sizes.batch, FRAMES, CHANNELS),
    )  # fmt: skip
    return [torch.rand(shape, generator=generator).to(device) for shape in shapes]


def stepping(network: nn.Module, sizes: Sizes, device: torch.device) -> Callable[[], None]:
    """A whole training step: forward, backward, AdamW."""
    *given, target_BFD = inputs_of(sizes, device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    predict = predicting(network, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = (predict(*given).float() - target_BFD).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(way: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call, to the end of what it started."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def step_flops(sizes: Sizes, device: torch.device) -> float:
    """Products and attention of one step, forward and backward."""
    network = ours(sizes).to(device)
    *given, _ = inputs_of(sizes, device)
    return flops_of(lambda: network(given[0], given[1], given[2], None, given[3]).sum().backward())


def products_flops_per_s(sizes: Sizes, device: torch.device) -> float:
    """Speed of the matrix products of a block's linear layers alone, forward and both gradients."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rows, width = sizes.batch * (FRAMES + 1), sizes.width
    layers = ((rows, width, 3 * width), (rows, width, width), (rows, width, 8 * width), (rows, 4 * width, width))
    products: list[tuple[Tensor, Tensor]] = []
    for m, k, n in layers:
        x, w, g = (torch.randn(shape, device=device, dtype=dtype) for shape in ((m, k), (k, n), (m, n)))
        products += [(x, w), (g, w.T), (x.T, g)]

    def way() -> None:
        for first, second in products:
            first @ second

    way()
    seconds = min(timed(way, device) for _ in range(2 * sizes.rounds))
    return sum(2.0 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in products) / seconds


def main() -> int:
    """Measure on a GPU and write the result, named for the device."""
    missing = [name for name in ("diffusers", "transformers", "safetensors") if find_spec(name) is None]
    if missing:
        print(f"missing here: {', '.join(missing)}; pip install {' '.join(missing)}", file=sys.stderr)
        return 1
    if not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no GPU here; `python -m benchmarks dit` measures on the CPU",
            file=sys.stderr,
        )
        return 1
    result: dict[str, Any] = {**measure(), "torch": torch.__version__, "cuda": torch.version.cuda}
    text = json.dumps(result, indent=2) + "\n"
    device = re.sub(r"[^a-z0-9]+", "-", str(result["device"]).lower()).strip("-")
    (Path(__file__).parent / "results" / f"dit-{device}.json").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
