"""What lab 08's checks hand to a student's code instead of a processor and a backbone: small, and watched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SIDE, PATCH, WIDTH = 8, 4, 6  # pixels, pixels, numbers per token


class Pixels(dict):
    """What a processor returns: `["pixel_values"]` and `.pixel_values` are the same tensor."""

    @property
    def pixel_values(self) -> Tensor:
        return self["pixel_values"]

    def to(self, device: Any) -> Pixels:
        return Pixels(pixel_values=self.pixel_values.to(device))


def processor(images: Any, return_tensors: str | None = None, **options: Any) -> Pixels:
    """Scale uint8 images (3, S, S) to numbers around zero, as an image processor does."""
    if return_tensors != "pt":
        raise TypeError('the processor returns lists unless you ask for return_tensors="pt"')
    pixels = torch.stack([torch.as_tensor(image) for image in images]).float() / 255
    return Pixels(pixel_values=(pixels - 0.45) / 0.2)


class Backbone(nn.Module):
    """A transformer's outside: CLS and four patch tokens, a final norm, a pooler with weights of its own.

    It notes the size of each batch, the mode it was in and whether gradients were recorded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * PATCH * PATCH, WIDTH)
        self.cls = nn.Parameter(torch.randn(WIDTH))
        self.mix, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2)
        self.norm, self.pooler = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.sizes: list[int] = []
        self.modes: list[bool] = []
        self.grads: list[bool] = []

    @property
    def device(self) -> torch.device:
        return self.cls.device

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **options: Any) -> Any:
        """Tokens of (B, 3, S, S) pixels: `last_hidden_state` (B, 5, D) and `pooler_output` (B, D)."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        self.sizes.append(len(pixel_values))
        self.modes.append(self.training)
        self.grads.append(torch.is_grad_enabled())
        patches = nn.functional.unfold(pixel_values, PATCH, stride=PATCH).transpose(1, 2)  # (B, 4, 48)
        patches = self.embed(patches)
        tokens = torch.cat([self.cls.expand(len(patches), 1, WIDTH), patches], 1)  # (B, 5, D)
        tokens = tokens + self.drop(torch.tanh(self.mix(tokens + tokens.mean(1, keepdim=True))))
        final = self.norm(tokens)
        return BaseModelOutputWithPooling(
            last_hidden_state=final,
            pooler_output=torch.tanh(self.pooler(final[:, 0])),
            hidden_states=(tokens,) if output_hidden_states else None,
        )
