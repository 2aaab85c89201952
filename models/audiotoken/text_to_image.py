"""A frozen text-to-image model in diffusers' layout: Stable Diffusion 1.4, 2.x, or any folder of the same parts.

    text_encoder/  tokenizer/     CLIPTextModel and its tokenizer
    unet/                         UNet2DConditionModel
    vae/                          AutoencoderKL
    scheduler/                    its betas and what the network predicts; also the solver that samples

It is loaded part by part, so that training needs no pipeline. Nothing of it is trained here.

Legend: B pictures, Z latent channels, h and w latent pixels, L text tokens, D width of the text encoder.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.diffusion.discrete import DiscreteSchedule
from models.weights import safetensors_paths, sha256_of_files

_PARTS = {"text_encoder": "CLIPTextModel", "unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
"""What a folder's `model_index.json` must name."""
_STEMS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_MENDED = {"steps_offset": 1, "clip_sample": False}
"""What `StableDiffusionPipeline` sets where a scheduler's configuration has another value, as old ones do."""
_UNKNOWN = ("addition_embed_type", "class_embed_type", "time_cond_proj_dim", "encoder_hid_dim_type")
"""Settings of a UNet that ask for more than a text; none is known here."""


class TextToImage:
    """The frozen parts, in evaluation mode and without gradients.

    Attributes:
        tokenizer: Of the text encoder.
        text_encoder: A `CLIPTextModel`.
        unet: A `UNet2DConditionModel`.
        vae: An `AutoencoderKL`.
        scheduler_config: As `scheduler/scheduler_config.json` has it.
        schedule: The levels of noise, and what the network predicts.
    """

    def __init__(
        self,
        *,
        tokenizer: Any,
        text_encoder: Any,
        unet: Any,
        vae: Any,
        scheduler_config: dict[str, Any],
        identity: dict[str, Any],
    ) -> None:
        """Takes the loaded parts.

        Raises:
            ValueError: They do not fit each other, or ask for something that is not known here.
        """
        self.tokenizer = tokenizer
        self.text_encoder, self.unet, self.vae = (
            part.eval().requires_grad_(False) for part in (text_encoder, unet, vae)
        )
        self.vae.to(memory_format=torch.channels_last)  # on a CPU in 0.92 of the time; UNets gain none
        self.scheduler_config = scheduler_config
        self._identity = identity
        self._check()
        self.schedule = DiscreteSchedule.from_scheduler(scheduler_config)

    def _check(self) -> None:
        unet, config = self.unet.config, self.scheduler_config
        if asked := [name for name in _UNKNOWN if unet.get(name) is not None]:
            raise ValueError(f"the UNet asks for {', '.join(asked)}: give a model that is conditioned by text alone")
        if unet["cross_attention_dim"] != self.token_width:
            raise ValueError(
                f"the UNet reads texts {unet['cross_attention_dim']} wide, the text encoder writes {self.token_width}"
            )
        if unet["in_channels"] != self.vae.config.latent_channels:
            raise ValueError(
                f"the UNet takes {unet['in_channels']} channels, the latents have {self.vae.config.latent_channels}: "
                "give a model that makes pictures from nothing, not one that fills them"
            )
        if getattr(self.text_encoder.config, "use_attention_mask", False):
            raise ValueError("the text encoder wants a mask of its padding, which is not known here")
        if config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr"):
            raise ValueError("the scheduler has betas of its own (trained_betas, rescale_betas_zero_snr), unknown here")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a folder of diffusers' layout, or a model by its name on the Hub; safetensors only.

        Args:
            name_or_path: As `CompVis/stable-diffusion-v1-4`, or a folder.
            device: Where it computes.
            revision: Branch, tag or commit on the Hub.

        Raises:
            ImportError: diffusers is not installed.
            OSError: Files are missing.
            ValueError: It is of other parts than these.
        """
        try:
            from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
        except ImportError as error:
            raise ImportError("TextToImage needs diffusers: pip install 'diffusers>=0.38'") from error
        from transformers import CLIPTextModel, CLIPTokenizer

        name = str(name_or_path)
        index = DiffusionPipeline.load_config(name, revision=revision)
        _check_index(name, index)
        how: dict[str, Any] = {"revision": revision, "use_safetensors": True, "torch_dtype": torch.float32}
        models = {
            "unet": UNet2DConditionModel.from_pretrained(name, subfolder="unet", low_cpu_mem_usage=False, **how),
            "vae": AutoencoderKL.from_pretrained(name, subfolder="vae", low_cpu_mem_usage=False, **how),
        }
        texts: dict[str, Any] = {"revision": revision or "main"}
        text_encoder = CLIPTextModel.from_pretrained(
            name, subfolder="text_encoder", use_safetensors=True, dtype=torch.float32, **texts
        )
        tokenizer = CLIPTokenizer.from_pretrained(name, subfolder="tokenizer", **texts)
        scheduler_config = dict(DDIMScheduler.load_config(name, subfolder="scheduler", revision=revision))
        identity = {
            "class": "TextToImage",
            **{
                f"{part}_sha256": sha256_of_files(safetensors_paths(name, stem=stem, subfolder=part, revision=revision))
                for part, stem in _STEMS.items()
            },
            "tokenizer_sha256": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "scheduler": json.loads(json.dumps(scheduler_config)),
        }
        return cls(
            tokenizer=tokenizer,
            text_encoder=text_encoder.to(device),
            unet=models["unet"].to(device),
            vae=models["vae"].to(device),
            scheduler_config=scheduler_config,
            identity=identity,
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.unet.device)

    @property
    def token_width(self) -> int:
        """D."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def tokens(self) -> int:
        """L, to which every text is filled up: 77 of CLIP."""
        return int(self.tokenizer.model_max_length)

    @property
    def latent_side(self) -> int:
        """h and w of the pictures that it was trained on."""
        side = self.unet.config.sample_size
        return int(side if isinstance(side, int) else side[0])

    @property
    def picture_side_px(self) -> int:
        """Side of those pictures, px: 512 of Stable Diffusion 1.4."""
        return self.latent_side * int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def identity(self) -> dict[str, Any]:
        """What determines its answers: the weights of each part, its tokenizer and its scheduler."""
        return self._identity

    def words(self) -> nn.Embedding:
        """The text encoder's embeddings of tokens, (vocabulary, D)."""
        embedding = self.text_encoder.get_input_embeddings()
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(f"the text encoder embeds its tokens by a {type(embedding).__name__}")
        return embedding

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a text, without its beginning, its end and padding."""
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False).input_ids]

    def text_states(self, embedded_BLD: Tensor) -> Tensor:
        """The text encoder's last states, from embeddings of tokens instead of their numbers.

        transformers' `CLIPTextModel.forward` takes numbers alone; the parts that it is made of take `inputs_embeds`.
        They are called here as it calls them: positions are added, and no token sees a later one.

        Args:
            embedded_BLD: float32, L at most the tokenizer's longest.

        Returns:
            float32 (B, L, D).
        """
        from transformers.masking_utils import create_causal_mask

        parts = getattr(self.text_encoder, "text_model", self.text_encoder)  # older versions hold them one level down
        placed_BLD = parts.embeddings(inputs_embeds=embedded_BLD)
        mask = create_causal_mask(
            config=self.text_encoder.config, inputs_embeds=placed_BLD, attention_mask=None, past_key_values=None
        )
        states = parts.encoder(inputs_embeds=placed_BLD, attention_mask=mask, is_causal=True)
        return torch.as_tensor(parts.final_layer_norm(states.last_hidden_state))

    @torch.no_grad()
    def latent_moments(self, pictures_BHW3: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the latents of pictures, scaled as the UNet reads them.

        Args:
            pictures_BHW3: uint8, RGB, sides multiples of the autoencoder's reduction.

        Returns:
            Two of float32 (B, Z, h, w).
        """
        scaled_B3HW = pictures_BHW3.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        found = self.vae.encode(scaled_B3HW).latent_dist
        scale, shift = float(self.vae.config.scaling_factor), float(self.vae.config.get("shift_factor") or 0)
        return (found.mean - shift) * scale, found.std * scale

    @torch.no_grad()
    def pictures(self, latents_BZhw: Tensor) -> Tensor:
        """Latents as pictures: (B, Z, h, w) -> uint8 (B, H, W, 3) on the CPU."""
        scale, shift = float(self.vae.config.scaling_factor), float(self.vae.config.get("shift_factor") or 0)
        made_B3HW = self.vae.decode(latents_BZhw / scale + shift, return_dict=False)[0]
        if not bool(made_B3HW.isfinite().all()):
            raise FloatingPointError("a picture came out that is not finite: try a lower guidance, or other weights")
        shown_B3HW = ((made_B3HW / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return torch.as_tensor(shown_B3HW.permute(0, 2, 3, 1).cpu())

    def scheduler(self) -> Any:
        """A fresh solver, as the folder names it."""
        import diffusers

        kind = getattr(diffusers, str(self.scheduler_config["_class_name"]), None)
        if kind is None:
            raise ValueError(f"diffusers has no scheduler {self.scheduler_config['_class_name']!r}")
        mended = {name: value for name, value in _MENDED.items() if name in self.scheduler_config}
        return kind.from_config({**self.scheduler_config, **mended})


def _check_index(name: str, index: Any) -> None:
    """Refuses pipelines of other parts."""
    found = {part: (index.get(part) or [None, None])[1] for part in _PARTS}
    further = [part for part in index if part.startswith("text_encoder_") and (index[part] or [None])[0] is not None]
    if found != _PARTS or further:
        named = ", ".join(f"{part}: {kind}" for part, kind in found.items())
        raise ValueError(
            f"{name} has other parts than a Stable Diffusion 1 or 2 ({named}{', ' if further else ''}"
            f"{', '.join(further)}): give one of a CLIPTextModel, a UNet2DConditionModel and an AutoencoderKL"
        )
