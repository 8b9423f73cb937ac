"""Every method's step on another device than the one it was built on, where there is no such device.

Fake tensors know shape, type and device, but hold no numbers: an operation on tensors of two devices fails as
it would on a GPU.
"""

from __future__ import annotations

import pytest
from test_methods import fitting
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from vlm_toys import a_batch, classifier

from labkit.data import Batch
from labkit.methods import available, create


def on_gpu(mode: FakeTensorMode, module: nn.Module) -> None:
    """Put a module's parameters and buffers there, as `module.to('cuda')` does."""
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                fake = mode.from_tensor(p.detach()).to("cuda")
                part._parameters[name] = nn.Parameter(fake, requires_grad=p.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer).to("cuda")


def moved(mode: FakeTensorMode, batch: Batch) -> Batch:
    stored = {name: mode.from_tensor(rows).to("cuda") for name, rows in batch.stored.items()}
    return Batch(*(mode.from_tensor(column).to("cuda") for column in batch[:4]), stored)


@pytest.mark.slow
@pytest.mark.parametrize("name", available())
def test_losses_of_every_stage_stay_on_the_networks_device(name: str):
    teacher, options = fitting(name)
    method = create(name, student=classifier(), teacher=teacher.eval(), **options)
    # A tensor left behind is on the CPU, as it is; how many distances are not zero, nobody knows.
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with mode:
        on_gpu(mode, method)
        batch = moved(mode, a_batch())
        for stage in method.stages():
            method.train()
            terms = (stage.losses or method.losses)(batch, 0.5)
            assert {value.device.type for value in terms.values()} == {"cuda"}
