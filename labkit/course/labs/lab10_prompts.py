"""Checks of lab 10 on CoOp's prompts: assembling them, and reading them with the text tower."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception, Property
from .lab10_toys import ToyText

POSITIONS = ("end", "middle", "front")

# --- assembling the prompt ------------------------------------------------------------------------------


def _draw_assemble(seed: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Three classes of 2, 4 and 1 tokens, five vectors (odd: half of it must be rounded), 14 places."""
    lengths = [[2, 4, 1], [1, 3, 2], [4, 1, 3]][seed % 3]
    return torch.randn(3, 1, 4), torch.randn(5, 4), torch.randn(3, 8, 4), lengths


def _at_each_position(
    answer: Any, prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int]
) -> dict[str, Any]:
    return {position: answer(prefix, context, suffix, list(lengths), position) for position in POSITIONS}


def assemble(prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int], position: str) -> Tensor:
    """Prompts (C, L, W) from start tokens (C, 1, W), context (M, W) and the rest (C, L - 1 - M, W)."""
    before = {"end": len(context), "middle": len(context) // 2, "front": 0}[position]
    rows = []
    for start, rest, n in zip(prefix, suffix, lengths, strict=True):
        name, end = rest[:n], rest[n:]
        rows.append(torch.cat([start, context[:before], name, context[before:], end]))
    return torch.stack(rows)


def _assembled(
    *, before: Any = None, shift: int = 0, first_length: bool = False, detached: bool = False,
    prefix_last: bool = False,
) -> Any:  # fmt: skip
    """`assemble` with parts of it changed; `before(M, position)` says how much context precedes the name."""
    halves = before or (lambda m, position: {"end": m, "middle": m // 2, "front": 0}[position])

    def answer(prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int], position: str) -> Tensor:
        context = context.detach() if detached else context
        k = halves(len(context), position)
        rows = []
        for start, rest, n in zip(prefix, suffix, lengths, strict=True):
            n = lengths[0] if first_length else n
            name, end = rest[: n + shift], rest[n + shift :]
            parts = [start, context[:k], name, context[k:], end]
            rows.append(torch.cat([*parts[1:2], start, *parts[2:]] if prefix_last else parts))
        return torch.stack(rows)

    return answer


def _forgot_start(prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int], position: str) -> Any:
    return assemble(prefix, context, suffix, lengths, position)[:, 1:]


def _stacked_context(prefix: Tensor, context: Tensor, suffix: Tensor, lengths: list[int], position: str):
    return torch.cat([prefix, context, suffix], dim=1)


ASSEMBLE = Check(
    id="10-assemble",
    title="prompts with the class at the end, in the middle or in front",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_assemble,
    observe=_at_each_position,
    reference=assemble,
    differentiable=(1,),
    misconceptions=(
        Misconception(
            "the class always at the end",
            _assembled(before=lambda m, position: m),
            "'end' is right, and 'middle' and 'front' look the same as it. There, part or all of the context"
            " stands after the name.",
        ),
        Misconception(
            "half rounded up",
            _assembled(before=lambda m, p: {"end": m, "middle": (m + 1) // 2, "front": 0}[p]),
            "With an odd number of vectors, CoOp puts the smaller half before the name: M // 2.",
        ),
        Misconception(
            "end and front swapped",
            _assembled(before=lambda m, p: {"end": 0, "middle": m // 2, "front": m}[p]),
            "The position is where the *class* stands: at the 'end' it follows all the context.",
        ),
        Misconception(
            "the full stop taken for part of the name",
            _assembled(shift=1),
            "The name has `lengths[c]` tokens; the next row of the suffix is the full stop, which stays"
            " behind the context.",
        ),
        Misconception(
            "the first name's length for all",
            _assembled(first_length=True),
            "Names have different numbers of tokens: use each class's own length.",
        ),
        Misconception(
            "the start token after the context",
            _assembled(prefix_last=True),
            "The start token comes first in every layout, before any context.",
        ),
        Misconception(
            "no start token",
            _forgot_start,
            "Your prompts are one token short: the prefix is missing.",
        ),
        Misconception(
            "the context not repeated for the classes",
            _stacked_context,
            "`torch.cat` doesn't broadcast: the context (M, W) has to appear once for each class. Build the"
            " rows class by class and stack them.",
        ),
        Misconception(
            "the context cut off from its gradient",
            _assembled(detached=True),
            "The prompts are right, but nothing will be learned: no detach(), no .data, no tensor() of the"
            " context.",
        ),
    ),
    hints=(
        "For one class: five pieces in a row. Which of them depend on the position?",
        "Layout (3): start, context[:k], name, context[k:], rest, with k = M, M // 2 or 0. The name is"
        " suffix[c, :n], the rest suffix[c, n:]. `torch.cat` per class, `torch.stack` at the end.",
        "M = 3, a name of 2 tokens, middle: S v1 n1 n2 v2 v3 . E. In front: S n1 n2 v1 v2 v3 . E.",
    ),
)

# --- the text tower -------------------------------------------------------------------------------------


def _draw_encode(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A tiny text tower, embedded prompts (4, 9, 8), and ids whose end token (99) is not in the last row."""
    tokens = torch.randint(1, 50, (4, 9))
    for row, end in zip(tokens, [[5, 3, 6, 4], [4, 6, 5, 3], [3, 5, 4, 7]][seed % 3], strict=True):
        row[end], row[end + 1 :] = 99, 0
    tokens[:, 0] = 98
    return ToyText(length=9, width=8, embed=6), torch.randn(4, 9, 8), tokens


def encode_prompts(clip: nn.Module, prompts: Tensor, tokens: Tensor) -> Tensor:
    """Unit vectors (C, E) of embedded prompts (C, L, W), read at the end token of ids (C, L)."""
    x = prompts + clip.positional_embedding
    x = clip.transformer(x, attn_mask=clip.attn_mask)
    x = clip.ln_final(x)
    x = x[torch.arange(len(x)), tokens.argmax(1)] @ clip.text_projection
    return F.normalize(x, dim=-1)


def _end(x: Tensor, tokens: Tensor) -> Tensor:
    return x[torch.arange(len(x)), tokens.argmax(1)]


def _reading(
    *, positions: bool = True, mask: bool = True, norm: bool = True, pool: Any = _end, unit: bool = True,
    project: bool = True, gradient: bool = True, dim: int = -1,
) -> Any:  # fmt: skip
    """`encode_prompts` with each of its parts switchable."""

    def answer(clip: nn.Module, prompts: Tensor, tokens: Tensor) -> Tensor:
        with torch.set_grad_enabled(gradient):
            x = prompts + clip.positional_embedding if positions else prompts
            x = clip.transformer(x, attn_mask=clip.attn_mask if mask else None)
            x = clip.ln_final(x) if norm else x
            x = pool(x, tokens)
            x = x @ clip.text_projection if project else x
            return F.normalize(x, dim=dim) if unit else x

    return answer


def _permuted(clip: nn.Module, prompts: Tensor, tokens: Tensor) -> Tensor:
    x = (prompts + clip.positional_embedding).permute(1, 0, 2)
    return clip.transformer(x, attn_mask=clip.attn_mask)


def _padding_is_unseen(answer: Any, seed: int) -> bool:
    clip, prompts, tokens = _draw_encode(seed)
    other = torch.where((tokens == 0)[..., None], torch.randn_like(prompts), prompts)
    return torch.allclose(answer(clip, prompts, tokens), answer(clip, other, tokens), rtol=1e-4, atol=1e-5)


ENCODE = Check(
    id="10-encode-prompts",
    title="from embedded prompts to class vectors",
    points=4,
    minutes=12,
    difficulty=3,
    draw=_draw_encode,
    reference=encode_prompts,
    differentiable=(1,),
    misconceptions=(
        Misconception(
            "the last row read",
            _reading(pool=lambda x, tokens: x[:, -1]),
            "The last row belongs to padding. The tower was trained to put the text's meaning where its end"
            " token stands: the largest id of each row.",
        ),
        Misconception(
            "the first row read",
            _reading(pool=lambda x, tokens: x[:, 0]),
            "The mask is causal: the start token has seen nothing but itself, so all classes get the same"
            " vector. Read where the end token stands.",
        ),
        Misconception(
            "the row after the end token",
            _reading(pool=lambda x, tokens: x[torch.arange(len(x)), tokens.argmax(1) + 1]),
            "You read one row too far: `argmax` gives the place of the end token itself.",
        ),
        Misconception(
            "the row before the end token",
            _reading(pool=lambda x, tokens: x[torch.arange(len(x)), tokens.argmax(1) - 1]),
            "You read the full stop: `argmax` gives the place of the end token itself.",
        ),
        Misconception(
            "one row for all classes",
            _reading(pool=lambda x, tokens: x[:, tokens.argmax(1)[0]]),
            "Names differ in length, so every class has its end token somewhere else: index with"
            " `x[torch.arange(C), places]`.",
        ),
        Misconception(
            "all places of every text",
            _reading(pool=lambda x, tokens: x[:, tokens.argmax(1)]),
            "That takes all those places of *every* text. Pair them: `x[torch.arange(C), places]`.",
        ),
        Misconception(
            "the axes permuted",
            _permuted,
            "CoOp's code permutes, for a tower that wants (L, C, W). This one takes (C, L, W): no permute.",
        ),
        Misconception(
            "the mean of all rows",
            _reading(pool=lambda x, tokens: x.mean(1)),
            "A mean would be another model: this one was trained with the end token's row.",
        ),
        Misconception(
            "no positions",
            _reading(positions=False),
            "Without `clip.positional_embedding` the tower can't tell the order of the tokens.",
        ),
        Misconception(
            "no causal mask",
            _reading(mask=False),
            "Without `attn_mask=clip.attn_mask` every token also looks at the padding behind it.",
        ),
        Misconception(
            "no final LayerNorm",
            _reading(norm=False),
            "Between transformer and projection comes `clip.ln_final`.",
        ),
        Misconception(
            "no projection",
            _reading(project=False),
            "The row is still of the text tower's width W: `@ clip.text_projection` takes it to the common"
            " space E.",
        ),
        Misconception(
            "not normalised",
            _reading(unit=False),
            "The last step is missing: unit vectors, as in section 2.",
        ),
        Misconception(
            "normalised over the classes",
            _reading(dim=0),
            "Each row is one class's vector: its length is a norm along the last axis.",
        ),
        Misconception(
            "the tower run without gradients",
            _reading(gradient=False),
            "The values are right, but no gradient comes through. Frozen means that the tower's own"
            " weights don't change; the gradient must still pass *through* it to the context: no"
            " torch.no_grad() here.",
        ),
    ),
    properties=(
        Property(
            "what stands behind the end token doesn't matter",
            _padding_is_unseen,
            "Padding must not be seen: look at the mask and at the row you read.",
        ),
    ),
    hints=(
        "Six operations, in the order of formula (4). Which row of each text holds its meaning?",
        "Add positions; transformer with its mask; ln_final; the row at `tokens.argmax(1)`; projection;"
        " normalise.",
        "To take x[0, 5], x[1, 3] and x[2, 6] at once: `x[torch.arange(3), torch.tensor([5, 3, 6])]`.",
    ),
)
