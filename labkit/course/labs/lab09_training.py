"""Check of lab 09 on training: a pass over the data that moves the adapters and the head alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab09_toys import CLASSES, WIDTH, ToyClassifier, ToyViT, add_adapters


def _draw_pairs(seed: int) -> tuple[Tensor, Tensor]:
    return torch.randn(4, 6, 3, WIDTH), torch.randint(CLASSES, (4, 6))


def _observe_training(answer: Any, tokens: Tensor, labels: Tensor) -> dict[str, Any]:
    model = ToyClassifier(add_adapters(ToyViT(), 3, 2.0)).eval()  # as the last evaluation left it
    with torch.no_grad():
        for block in model.net.blocks:
            block.attn.qkv.B.normal_()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    losses = answer(model, zip(tokens, labels, strict=True), 0.05)
    values = list(losses) if isinstance(losses, list | tuple) else losses
    graphs = isinstance(values, list) and any(isinstance(x, Tensor) and x.requires_grad for x in values)
    moved = [name for name, t in model.state_dict().items() if not torch.equal(t, before[name])]
    return {
        "what moved": ", ".join(moved) or "nothing",
        "the modes (True: train)": model.modes,
        "a graph behind the losses": graphs,
        "the losses": [float(x) for x in values] if isinstance(values, list) else values,
        "the weights afterwards": torch.cat([t.flatten() for t in model.state_dict().values()]),
    }


def train_adapters(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], lr: float) -> list[float]:
    """One pass of Adam over `pairs`, for the parameters that train; returns the losses."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr)
    model.train()
    losses = []
    for images, labels in pairs:
        loss = F.cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _wrong(
    *, which: Any = lambda name, p: p.requires_grad, thaw: bool = False, train: bool = True,
    zero: bool = True, update: bool = True, item: bool = True, anew: bool = False, lr_used: bool = True,
    mean: bool = False, kind: Any = torch.optim.Adam, softmax: bool = False,
) -> Any:  # fmt: skip
    """The pass with each of its parts switchable."""

    def answer(model: nn.Module, pairs: Any, lr: float) -> Any:
        if thaw:
            model.requires_grad_(True)

        def make() -> torch.optim.Optimizer:
            chosen = [p for name, p in model.named_parameters() if which(name, p)]
            return kind(chosen, lr=lr) if lr_used else kind(chosen)

        optimizer = make()
        if train:
            model.train()
        losses = []
        for images, labels in pairs:
            optimizer = make() if anew else optimizer
            logits = model(images).logits
            loss = F.cross_entropy(logits.softmax(-1) if softmax else logits, labels)
            if zero:
                optimizer.zero_grad()
            loss.backward()
            if update:
                optimizer.step()
            losses.append(loss.item() if item else loss)
        return sum(losses) / len(losses) if mean else losses

    return answer


TRAIN_ADAPTERS = Check(
    id="09-train-adapters",
    title="one pass that trains what is trainable",
    points=2,
    minutes=10,
    difficulty=2,
    draw=_draw_pairs,
    observe=_observe_training,
    reference=train_adapters,
    misconceptions=(
        Misconception(
            "only the adapters in the optimizer",
            _wrong(which=lambda name, p: name.endswith((".A", ".B"))),
            "The head is new and must learn too. Let requires_grad decide, not the parameters' names.",
        ),
        Misconception(
            "only the head in the optimizer",
            _wrong(which=lambda name, p: ".head." in name),
            "That is a linear probe: the adapters never move. Give the optimizer all parameters that train.",
        ),
        Misconception(
            "everything set to train",
            _wrong(thaw=True),
            "Pretrained weights moved: do not switch requires_grad on again, only collect what has it.",
        ),
        Misconception(
            "model not in train mode",
            _wrong(train=False),
            "Somebody evaluated the model before you, and dropout is off: model.train().",
        ),
        Misconception(
            "gradients never set to zero",
            _wrong(zero=False),
            "Gradients of earlier batches pile up: optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _wrong(update=False),
            "Nothing moves: optimizer.step() is missing.",
        ),
        Misconception(
            "the losses kept with their graphs",
            _wrong(item=False),
            "Each tensor in your list keeps the graph of its whole step in memory: append loss.item().",
        ),
        Misconception(
            "a new optimizer for every batch",
            _wrong(anew=True),
            "Adam's running means start from nothing at each batch: make the optimizer once, before the"
            " loop.",
        ),
        Misconception(
            "the learning rate not used",
            _wrong(lr_used=False),
            "Adam runs at its default rate: pass lr=lr.",
        ),
        Misconception(
            "softmax before the cross-entropy",
            _wrong(softmax=True),
            "F.cross_entropy takes logits and applies the softmax itself.",
        ),
        Misconception(
            "SGD in place of Adam",
            _wrong(kind=torch.optim.SGD),
            "The rules say Adam: torch.optim.Adam.",
        ),
        Misconception(
            "AdamW in place of Adam",
            _wrong(kind=torch.optim.AdamW),
            "AdamW shrinks every weight a little at each step. Here it is plain Adam: torch.optim.Adam.",
        ),
        Misconception(
            "the mean of the losses",
            _wrong(mean=True),
            "Return the list, one loss per batch: the picture below needs them all.",
        ),
    ),
    hints=(
        "It is the loop that you know. Only one line is new: which parameters the optimizer gets.",
        "trained = [p for p in model.parameters() if p.requires_grad]; Adam(trained, lr=lr); model.train();"
        " then"
        " forward (.logits), cross-entropy, zero_grad, backward, step, and loss.item() into the list.",
        "To train only the biases one would write [p for name, p in model.named_parameters() if 'bias' in"
        " name]"
        " and leave the rest of the loop alone.",
    ),
)
