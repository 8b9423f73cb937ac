"""The bug of lab 09: `modules_to_save` names a module that a timm ViT does not have, and peft keeps quiet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception


def _draw_network(seed: int) -> tuple[Tensor, int]:
    """Images, and the number of classes."""
    return torch.randn(2, 3, 8, 8), 4 + seed % 3


def _network(classes: int) -> nn.Module:
    """A ViT of timm in transformers' wrapper, as `AutoModelForImageClassification` returns it, but tiny."""
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    size = {"img_size": 8, "patch_size": 4, "embed_dim": 6, "depth": 2, "num_heads": 2}
    config = TimmWrapperConfig(architecture="vit_tiny_patch16_224", model_args=size, num_labels=classes)
    return TimmWrapperForImageClassification(config)


def _observe_peft(answer: Any, pixels: Tensor, classes: int) -> Any:
    """Which parts train, which would be in the saved adapter, and whether the model still runs."""
    from peft import get_peft_model_state_dict

    model = answer(_network(classes))
    if not isinstance(model, nn.Module):
        return model
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {name for name in trained if "lora_" in name}
    heads = {name for name in trained - adapters if ".head." in name}
    saved = get_peft_model_state_dict(model) if hasattr(model, "peft_config") else {}
    return {
        "parameters of a head that train": len(heads),
        "a head in the saved adapter": any("head." in name and "lora_" not in name for name in saved),
        "layers whose adapters train": ", ".join(
            sorted({name.split(".lora_")[0][-18:] for name in adapters})
        ),
        "numbers in the adapters": sum(p.numel() for name, p in model.named_parameters() if name in adapters),
        "other parameters that train": len(trained - adapters - heads),
        "the logits' shape": list(model(pixel_values=pixels).logits.shape),
    }


def adapt(model: nn.Module) -> nn.Module:
    """LoRA on the attention of a timm ViT, with a new head that trains."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4, lora_alpha=4, target_modules=["qkv"], lora_dropout=0.1, bias="none", modules_to_save=["head"]
    )
    return get_peft_model(model, config)


def _wrong(head: str = "", **changes: Any) -> Any:
    def answer(model: nn.Module) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        settings = {"r": 4, "lora_alpha": 4, "target_modules": ["qkv"], "lora_dropout": 0.1, "bias": "none"}
        adapted = get_peft_model(model, LoraConfig(**settings | changes))
        if head == "thawed":
            for name, parameter in adapted.named_parameters():
                if ".head." in name:
                    parameter.requires_grad_(True)
        if head == "all":
            adapted.requires_grad_(True)
        return adapted

    return answer


BUG = Check(
    id="09-bug",
    title="the adapter's configuration, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_network,
    observe=_observe_peft,
    reference=adapt,
    misconceptions=(
        Misconception(
            "the configuration as it was",
            _wrong(modules_to_save=["classifier"]),
            "Print the names of the parameters that train: none belongs to the head. What is the last layer"
            " of"
            " this network called?",
        ),
        Misconception(
            "the head thawed by hand",
            _wrong(head="thawed"),
            "Now it trains, but save_pretrained writes what the configuration names: the adapter file has no"
            " head, and whoever loads it gets a random one. Name the head in the configuration.",
        ),
        Misconception(
            "an adapter on the head",
            _wrong(target_modules=["qkv", "head"]),
            "An adapter on the head leaves its random weight frozen and corrects it with a low rank. A new"
            " head"
            " must be trained itself.",
        ),
        Misconception(
            "everything set to train",
            _wrong(head="all"),
            "The head trains now, and so does the whole pretrained network: that is full fine-tuning with"
            " extra parts.",
        ),
        Misconception(
            "no layer left to adapt",
            _wrong(target_modules=["query", "value"], modules_to_save=["head"]),
            "target_modules was right: one layer, qkv, makes queries, keys and values of this network. And"
            " modules_to_save trains a full copy of each module it names, so name the head alone.",
        ),
    ),
    hints=(
        "Nothing raises an error. Ask the model what trains: for a ViT of timm, not of transformers.",
        "One argument of LoraConfig names a module that this network does not have. print(model) shows the"
        " names.",
        "transformers' own ViT calls its last layer `classifier`, torchvision's `heads`, timm's `head`. A"
        " name"
        " that matches nothing is ignored.",
    ),
)
