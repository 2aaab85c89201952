"""How a run is executed, which changes its speed and memory and not what comes out of it, but for rounding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from models.training.world import World

Recompute = Literal["none", "selective", "full"]
Spread = Literal["replicas", "shards"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a run is executed.

    Attributes:
        micro_clips: Clips that go through the network at once, a process; None: the process's whole share of a batch.
            Halved when the memory does not suffice.
        compile: Whether the repeated blocks are compiled, each once for all.
        recompute: What the backward pass computes again: nothing; all but matrix products and attention; whole blocks.
        spread: Over several processes, a whole copy of the network on each (DDP), or a part of it (FSDP2), for networks
            above some 1.5 B parameters on 80 GB.
        loader_threads: Threads that make batches ahead.
    """

    micro_clips: int | None = None
    compile: bool = False
    recompute: Recompute = "none"
    spread: Spread = "replicas"
    loader_threads: int = 1

    def __post_init__(self) -> None:
        if self.micro_clips is not None and self.micro_clips < 1:
            raise ValueError(f"micro_clips is {self.micro_clips}: it must be at least 1")
        if self.recompute not in ("none", "selective", "full"):
            raise ValueError(f"recompute is {self.recompute!r}: choose 'none', 'selective' or 'full'")
        if self.spread not in ("replicas", "shards"):
            raise ValueError(f"spread is {self.spread!r}: choose 'replicas' or 'shards'")
        if self.loader_threads < 1:
            raise ValueError(f"loader_threads is {self.loader_threads}: it must be at least 1")


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a network: the members of every `nn.ModuleList` that is called `blocks`.

    Every batch goes through all of them; what only some batches use has another name.
    """
    for module in network.modules():
        blocks = getattr(module, "blocks", None)
        if isinstance(blocks, nn.ModuleList):
            yield from blocks


def prepare_blocks(network: nn.Module, execution: Execution) -> None:
    """Has the blocks recomputed and compiled as asked, in place; names in the state stay as they are.

    Blocks of one kind are compiled for sizes that vary once one does. A UNet's, of several kinds, are compiled for the
    sizes that come: there two blocks of a kind differ in all of them, and Inductor fails on strides that nobody knows.
    """
    blocks = list(blocks_of(network))
    dynamic = None if len({type(block) for block in blocks}) == 1 else False
    for block in blocks:
        if execution.recompute != "none":
            block.forward = _recomputed(block.forward, selective=execution.recompute == "selective")
        if execution.compile:
            block.compile(fullgraph=True, dynamic=dynamic)


def _recomputed(forward: Callable[..., Any], *, selective: bool) -> Callable[..., Any]:
    options: dict[str, Any] = (
        {"context_fn": partial(create_selective_checkpoint_contexts, _policy)} if selective else {}
    )

    def call(*inputs: Any, **named: Any) -> Any:  # a frame of its own, for the compiler to begin at
        return checkpoint(forward, *inputs, use_reentrant=False, **options, **named)

    return call


_KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}
"""Costly to compute again: their results are kept, everything pointwise is not."""


def _policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def gather(network: nn.Module, into: nn.Module | None) -> None:
    """Brings the whole parameters of a sharded network together; every process calls it.

    Args:
        network: The sharded one.
        into: A network of the same kind that gets them; None in a process that only gives.
    """
    own = {} if into is None else into.state_dict()
    for name, tensor in network.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if into is not None:
            own[name].copy_(whole.detach())


def shard(network: nn.Module, world: World) -> None:
    """Spreads the parameters of a network over all processes, in place (FSDP2), block by block."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy()
    if world.device.type == "cuda":  # autocast casts what goes into products; times and positions stay exact
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks_of(network):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=policy)
