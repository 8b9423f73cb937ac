"""The architecture of `aviary-clip`, made known to timm and to open_clip under its name.

The image tower is a ConvNeXt (arXiv 2201.03545), the family of the real teacher's `convnext_xxlarge`, cut to
64-pixel birds: two convolutions of stride 2 in place of the 4x4 patches, because a bill is a few pixels wide,
and no layer scale, which holds a network back that trains for a few thousand steps only.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).with_name("vlm_configs") / "aviary-clip.json"
_TOWER = {
    "depths": (2, 2, 4, 2),
    "dims": (32, 64, 128, 256),
    "stem_type": "overlap_act",
    "kernel_sizes": 3,
    "ls_init_value": None,
}
_FACTS = {"input_size": (3, 64, 64), "pool_size": (2, 2), "first_conv": "stem.0", "classifier": "head.fc"}


@cache
def register_aviary_clip() -> None:
    """Let `open_clip.create_model_and_transforms('aviary-clip')` work; done once per process."""
    import open_clip
    from timm.models import build_model_with_cfg, register_model
    from timm.models.convnext import ConvNeXt

    def aviary_convnext(pretrained: bool = False, **kwargs: Any) -> ConvNeXt:
        """ConvNeXt for 64-pixel images, with maps of 16, 8, 4 and 2 pixels; nobody publishes its weights."""
        settings = {**_TOWER, **kwargs, "pretrained_cfg": _FACTS}
        taps = {"out_indices": (0, 1, 2, 3), "flatten_sequential": True}
        return build_model_with_cfg(ConvNeXt, "aviary_convnext", pretrained, feature_cfg=taps, **settings)

    register_model(aviary_convnext)
    open_clip.add_model_config(CONFIG)
