"""How fast the roster trains at 64 px on one core: images/s of forward, backward and AdamW step, batch 64.

Per second of processor time, so that a busy machine changes little; the best of three. `fp32` in the usual
memory layout, then channels-last, then channels-last with bfloat16 autocast (what generic pretraining takes
for all but the depthwise networks). Run it: OMP_NUM_THREADS=1 python benchmarks/roster_speed.py [NAME ...]
"""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F

from labkit.models import build, cost
from labkit.models.shipped import CNNS

BATCH, REPEATS = 64, 3
WAYS = {
    "fp32": (torch.contiguous_format, False),
    "channels-last": (torch.channels_last, False),
    "bf16": (torch.channels_last, True),
}


def speed(name: str, layout: torch.memory_format, half: bool) -> float:
    """Training images per second of processor time."""
    model = build(name, 200).to(memory_format=layout)
    for module in model.modules():  # as in pretraining: the backward of fused attention is slow on CPUs
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.rand(BATCH, 3, 64, 64), torch.randint(0, 200, (BATCH,))
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first warms up
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(images).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        best = min(best, time.process_time() - began)
    return BATCH / best


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':22}{'parameters':>12}{'MMACs':>8}" + "".join(f"{way:>15}" for way in WAYS))
    for name in sys.argv[1:] or (*CNNS, "aviary-vit"):
        facts = cost(build(name, 60), (1, 3, 64, 64))
        speeds = "".join(f"{speed(name, *way):15.0f}" for way in WAYS.values())
        print(f"{name:22}{facts.parameters:12,}{facts.macs / 1e6:8.1f}{speeds}", flush=True)


if __name__ == "__main__":
    main()
