"""`load_vlm`: one name, one frozen vision-language model; miniature and real ones by the same lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabkitError, MissingError, unknown
from .shipped import pretrained
from .vlm_aviary import register_aviary_clip
from .vlm_published import PUBLISHED_CLIPS, published_clip

AVIARY_CLIP = "aviary-clip"
VLMS = (AVIARY_CLIP, *PUBLISHED_CLIPS)
_TEXTS_AT_ONCE = 256

Tokenizer = Callable[[list[str]], Tensor]


def load_vlm(
    name: str,
    device: str | torch.device | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    bf16: bool = False,
) -> VisionLanguage:
    """A pretrained CLIP model (arXiv 2103.00020), frozen, through open_clip.

    Args:
        name: 'aviary-clip', which ships; or 'ViT-B-32', 'ViT-B-16' or 'convnext_xxlarge', whose weights are
            asked for in the local cache first, then on the Hugging Face hub.
        device: where to put it; None for the CPU.
        weights: a .safetensors file of that architecture in place of the pretrained weights.
        bf16: encode in bfloat16 where a CUDA device has it; ignored elsewhere.

    Raises:
        LabkitError: unknown name, a damaged file, or weights of another architecture.
        MissingError: weights that are neither here nor within reach; after seconds, never a hang.

    >>> vlm = load_vlm("aviary-clip")  # doctest: +SKIP
    >>> head = vlm.zero_shot([f"a photo of a {name}" for name in data.classes])  # doctest: +SKIP
    >>> logits = vlm.logit_scale * vlm.encode_image(images) @ head.T  # doctest: +SKIP
    """
    if name not in VLMS:
        raise unknown("vision-language model", name, VLMS)
    import open_clip

    register_aviary_clip()
    path = Path(weights).expanduser() if weights is not None else _weights(name)
    if not path.is_file():
        raise MissingError(f"There is no weights file {path}: give a .safetensors file, or weights=None.")
    published = PUBLISHED_CLIPS.get(name)
    statistics = open_clip.get_pretrained_cfg(name, published.tag) if published else {}
    try:
        clip, *_ = open_clip.create_model_and_transforms(
            name,
            pretrained=str(path),
            image_mean=statistics.get("mean"),
            image_std=statistics.get("std"),
            image_interpolation=statistics.get("interpolation"),
            image_resize_mode=statistics.get("resize_mode"),
        )
    except Exception as error:  # whatever safetensors, pickle or a state dict of other shapes raises
        raise LabkitError(
            f"{path} can't be read as weights of '{name}' ({_first_line(error)}): fetch or make it again."
        ) from error
    vlm = VisionLanguage(clip, open_clip.get_tokenizer(name), name, bf16=bf16)
    return vlm if device is None else vlm.to(device)


class VisionLanguage(nn.Module):
    """A frozen CLIP model that takes images in [0, 1] and plain text; stays in eval mode whatever happens.

    Parameters ask for no gradient, but one flows to the images and, through `clip`, to token embeddings.

    Attributes:
        clip: the open_clip model.
        tokenizer: texts to token ids (n, context_length).
        name: the name it was loaded by.
        image_size: side S of the images the network sees; others are resized and centre-cropped.
        context_length: tokens of a text, the start and the end among them; what is longer is cut off.
        embed_dim: width E of the common space.
        mean, std: buffers (1, 3, 1, 1), this model's own statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: nn.Module, tokenizer: Tokenizer, name: str, *, bf16: bool = False) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.bf16 = bf16
        steps = clip.visual.preprocess_cfg
        size = steps["size"]
        self.image_size = int(size if isinstance(size, int) else size[0])
        self.squash = steps["resize_mode"] == "squash"
        self.interpolation = steps["interpolation"]
        self.context_length = int(clip.context_length)
        projection = getattr(clip, "text", clip).text_projection
        linear = isinstance(projection, nn.Linear)
        self.embed_dim = int(projection.out_features if linear else projection.shape[1])
        self.register_buffer("mean", torch.tensor(steps["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(steps["std"]).view(1, -1, 1, 1))
        self.train()

    def train(self, mode: bool = True) -> VisionLanguage:
        """Stay in eval mode, also where a module around this one is set to train."""
        return super().train(False)

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax: exp of the learned parameter."""
        return self.clip.logit_scale.exp().item()

    def forward(self, images: Tensor) -> Tensor:
        """`encode_image`."""
        return self.encode_image(images)

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit vectors (B, E) float32 of images (B, 3, H, W), floats in [0, 1] of any size.

        Raises:
            LabkitError: not a float batch of 3 channels.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise LabkitError(
                f"'{self.name}' takes float images (B, 3, H, W) in [0, 1] but got {images.dtype} of shape"
                f" {tuple(images.shape)}: divide bytes by 255, make grey images RGB, add the batch axis."
            )
        x = (self.resize(images.to(self.mean.dtype)) - self.mean) / self.std
        with self._precision():
            features = self.clip.encode_image(x)
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, E) float32 of plain texts, a few hundred at a time.

        Raises:
            LabkitError: no texts, or one string in place of a list.
        """
        if isinstance(texts, str) or not len(texts):
            raise LabkitError(f"encode_text takes a list of texts, not {texts!r}.")
        ids = self.tokenizer(list(texts)).to(self.mean.device)
        with self._precision():
            features = [self.clip.encode_text(part) for part in ids.split(_TEXTS_AT_ONCE)]
        return F.normalize(torch.cat(features).float(), dim=-1)

    def zero_shot(self, prompts: Sequence[str] | Sequence[Sequence[str]]) -> Tensor:
        """The classifier (C, E) that the class names make: `logit_scale * encode_image(x) @ head.T`.

        `w_c = normalise(mean_m normalise(text(t_m(c))))` over templates m (arXiv 2103.00020, section 3.1.4):
        embeddings are averaged, not probabilities.

        Args:
            prompts: one text per class; or one such list per template, with the classes in the same order.

        Raises:
            LabkitError: no prompts, or templates that name different numbers of classes.
        """
        templates = [prompts] if prompts and all(isinstance(text, str) for text in prompts) else prompts
        sizes = {0 if isinstance(texts, str) else len(texts) for texts in templates}
        if len(sizes) != 1 or 0 in sizes:
            raise LabkitError(
                "zero_shot takes one text per class, or one list per template with a text for each class; the"
                f" lists here have {sorted(sizes)} texts."
            )
        flat = self.encode_text([text for texts in templates for text in texts])  # (M * C, E)
        return F.normalize(flat.view(len(templates), -1, flat.shape[1]).mean(0), dim=-1)

    def resize(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) at the network's own size, as open_clip's evaluation does: the shorter side to
        S with an antialiased filter, then the middle; a model trained on squashed images squashes."""
        from torchvision.transforms.v2 import InterpolationMode, functional

        size = self.image_size
        if images.shape[-2:] == (size, size):
            return images
        target = [size, size] if self.squash else [size]
        how = InterpolationMode(self.interpolation)
        images = functional.resize(images, target, interpolation=how, antialias=True)
        return functional.center_crop(images, [size, size]).clamp(0, 1)  # bicubic overshoots

    def _precision(self) -> AbstractContextManager:
        device = self.mean.device
        if not self.bf16 or device.type != "cuda":
            return nullcontext()
        usable = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.autocast("cuda", torch.bfloat16, enabled=usable)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, image_size={self.image_size}, embed_dim={self.embed_dim}"


def _weights(name: str) -> Path:
    """The file of the pretrained weights."""
    if name in PUBLISHED_CLIPS:
        return published_clip(name)
    return Path(pretrained(name)) / "model.safetensors"


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:157] + "...") if len(text) > 160 else text or type(error).__name__
