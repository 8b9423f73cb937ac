"""CoOp: a prompt whose words are learned vectors, read by the frozen text tower of any open_clip model.

Source: Zhou et al., arXiv 2109.01134; the order of the tokens is that of KaiyangZhou/CoOp `trainers/coop.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import LabkitError, unknown
from .vlm import VisionLanguage

POSITIONS = ("end", "middle", "front")


class PromptLearner(nn.Module):
    """Learned context vectors V around the class names.

        end:    [SOS][V_1..V_M][class][.][EOS]
        middle: [SOS][V_1..V_m][class][V_m+1..V_M][.][EOS]   m = M // 2
        front:  [SOS][class][V_1..V_M][.][EOS]

    Only V is a parameter, and only V is saved: everything else belongs to the class list at hand and is made
    anew, so that a saved context can be tried on other classes.

    Args:
        vlm: the frozen model; it is kept, but is no part of `parameters()` or `state_dict()`.
        classes: C class names, or any texts that stand in for them.
        n_ctx: number M of vectors; with `words`, left out.
        position: where the class goes: 'end', 'middle' or 'front'.
        words: start from the embeddings of these words, such as 'a photo of a', in place of N(0, 0.02^2).
        class_specific: C contexts of M vectors instead of one that all classes share.
        seed: of the random start.
        chunk: prompts in one pass of the text tower, recomputed in the backward pass: the memory of many
            classes at 77 tokens; None takes all at once.

    Attributes:
        context: the parameter V, (M, W) or (C, M, W), of the token embeddings' width W.
        tokens: (C, L) ids with placeholders where V goes; tells the tower where the text ends.
        lengths: number of tokens of each class name.

    Raises:
        LabkitError: no classes, a name that doesn't fit, an unknown position, or a tower without tokens.

    Example:
        >>> learner = PromptLearner(vlm, data.classes, n_ctx=16)  # doctest: +SKIP
        >>> logits = vlm.logit_scale * image_features @ learner().T  # doctest: +SKIP
    """

    base: Tensor
    order: Tensor
    tokens: Tensor

    def __init__(
        self,
        vlm: VisionLanguage,
        classes: Sequence[str],
        n_ctx: int | None = None,
        *,
        position: str = "end",
        words: str | None = None,
        class_specific: bool = False,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if position not in POSITIONS:
            raise unknown("class position", position, POSITIONS)
        if isinstance(classes, str) or not len(classes):
            raise LabkitError(f"A prompt learner needs a list of class names, not {classes!r}.")
        self._vlm = (vlm,)  # a tuple hides it from parameters(), state_dict() and train()
        self.classes = tuple(classes)
        self.position, self.chunk = position, chunk
        initial = None
        if words is not None:
            start, end = _span(vlm, words)
            initial = embed(vlm, vlm.tokenizer([words]))[0, start:end].clone()
        self.n_ctx = _count(n_ctx, initial, words)
        tokens, self.lengths = self._tokenise(vlm)
        order = _order(self.lengths, self.n_ctx, position, tokens.shape[1])
        embedded = embed(vlm, tokens)
        if initial is None:
            generator = torch.Generator().manual_seed(seed)
            shape = (self.n_ctx, embedded.shape[2])
            shape = (len(classes), *shape) if class_specific else shape
            initial = 0.02 * torch.randn(shape, generator=generator)
        elif class_specific:
            initial = initial.repeat(len(classes), 1, 1)
        self.context = nn.Parameter(initial.float().to(embedded.device))
        tokens = tokens.gather(1, order)
        for name, tensor in {"base": embedded, "order": order, "tokens": tokens}.items():
            self.register_buffer(name, tensor.to(embedded.device), persistent=False)
        self.register_load_state_dict_pre_hook(_only_context)

    @property
    def vlm(self) -> VisionLanguage:
        """The frozen model that reads the prompts."""
        return self._vlm[0]

    @property
    def prefix(self) -> Tensor:
        """(C, 1, W): the embedding of the start token."""
        return self.base[:, :1]

    @property
    def suffix(self) -> Tensor:
        """(C, L - 1 - M, W): class name, full stop, end token and padding."""
        return self.base[:, 1 + self.n_ctx :]

    def assembled(self) -> Tensor:
        """(C, L, W): the embedded prompts with V in its place."""
        context = self.context.to(self.base.dtype)
        context = context if context.ndim == 3 else context.expand(len(self.classes), -1, -1)
        prompts = torch.cat([self.prefix, context, self.suffix], dim=1)
        return prompts.gather(1, self.order[..., None].expand_as(prompts))

    def forward(self) -> Tensor:
        """The head: unit vectors (C, E) of the prompts, with a gradient to V through the text tower."""
        return encode_embedded(self.vlm, self.assembled(), self.tokens, chunk=self.chunk)

    def _tokenise(self, vlm: VisionLanguage) -> tuple[Tensor, list[int]]:
        """Ids (C, L) of 'X X ... X name.' and the number of tokens of each name."""
        filler = " ".join(["X"] * self.n_ctx)
        texts = [f"{filler} {_tidy(name)} ." for name in self.classes]
        lengths = [len(encode_words(vlm, _tidy(name))) for name in self.classes]
        longest = vlm.context_length
        for name, length, text in zip(self.classes, lengths, texts, strict=True):
            needed = len(encode_words(vlm, text)) + 2
            if length == 0:
                raise LabkitError(f"The class name {name!r} has no tokens: give every class a name.")
            if needed > longest:
                raise LabkitError(
                    f"The prompt of '{name}' needs {needed} tokens with {self.n_ctx} context vectors, and"
                    f" '{vlm.name}' reads {longest}: use n_ctx of at most {self.n_ctx - needed + longest},"
                    " or shorter names."
                )
        tokens = vlm.tokenizer(texts)
        if len(encode_words(vlm, filler)) != self.n_ctx or len(tokens[:, 1 : 1 + self.n_ctx].unique()) != 1:
            raise LabkitError(
                f"The tokeniser of '{vlm.name}' doesn't read 'X X' as a start token and one token per X:"
                " CoOp's prompts can't be laid out for it."
            )
        return tokens, lengths


@torch.no_grad()
def embed(vlm: VisionLanguage, tokens: Tensor) -> Tensor:
    """Token embeddings (n, L, W) of ids (n, L), before positions are added."""
    table = embedding_of(vlm)
    return table(tokens.to(table.weight.device))


def embedding_of(vlm: VisionLanguage) -> nn.Embedding:
    """The table of token embeddings, wherever this open_clip model keeps it.

    Raises:
        LabkitError: the text tower has none.
    """
    text = getattr(vlm.clip, "text", vlm.clip)  # CustomTextCLIP has a tower of its own, CLIP has its parts
    if hasattr(text, "token_embedding"):
        return text.token_embedding
    if hasattr(getattr(text, "transformer", None), "get_input_embeddings"):  # a Hugging Face tower
        return text.transformer.get_input_embeddings()
    raise LabkitError(f"'{vlm.name}' has no table of token embeddings: prompts can't be learned for it.")


def encode_embedded(
    vlm: VisionLanguage, embedded: Tensor, tokens: Tensor, *, chunk: int | None = None
) -> Tensor:
    """Unit vectors (n, E) of texts given as embeddings (n, L, W), with gradient.

    The model's own `encode_text` runs, with these embeddings in place of those it looks up: positions, mask,
    layout (batch first or not), the row that is read and the projection are its own, whatever the version.

    Args:
        embedded: before positions are added.
        tokens: (n, L) ids of the same texts, which say where each text ends.
        chunk: texts per pass; more than one pass recomputes each in the backward pass.
    """
    if chunk is not None and len(tokens) > chunk:
        parts = zip(embedded.split(chunk), tokens.split(chunk), strict=True)
        return torch.cat([checkpoint(_encode_part, vlm, *part, use_reentrant=False) for part in parts])
    return _encode_part(vlm, embedded, tokens)


def _encode_part(vlm: VisionLanguage, embedded: Tensor, tokens: Tensor) -> Tensor:
    hook = embedding_of(vlm).register_forward_hook(lambda module, inputs, output: embedded.to(output.dtype))
    try:
        with vlm._precision():
            features = vlm.clip.encode_text(tokens)
    finally:
        hook.remove()
    return F.normalize(features.float(), dim=-1)


def _only_context(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    """Drop what a checkpoint holds of another class list (the authors' code saves prefix and suffix)."""
    kept = f"{prefix}context"
    if kept not in state and f"{prefix}ctx" in state:
        state[kept] = state[f"{prefix}ctx"]
    for name in [n for n in state if n.startswith(prefix) and n != kept]:
        del state[name]
    saved = state.get(kept)
    if saved is not None and saved.shape != module.context.shape:
        raise LabkitError(
            f"The saved context has shape {tuple(saved.shape)}, this learner's {tuple(module.context.shape)}:"
            " build it with the same model, n_ctx and class_specific (and classes, if specific)."
        )


def _tidy(name: str) -> str:
    """'_' is no space to a tokeniser."""
    return re.sub(r"[_\s]+", " ", name).strip()


def encode_words(vlm: VisionLanguage, text: str) -> list[int]:
    """Ids of a text without start and end."""
    tokenizer = vlm.tokenizer
    if hasattr(tokenizer, "encode"):
        return tokenizer.encode(text)
    return tokenizer.tokenizer.encode(text, add_special_tokens=False)  # open_clip's HFTokenizer


def _span(vlm: VisionLanguage, words: str) -> tuple[int, int]:
    """Positions of a text's own tokens in its row of ids."""
    count = len(encode_words(vlm, words))
    if not 0 < count <= vlm.context_length - 2:
        raise LabkitError(f"words={words!r} are {count} tokens: give 1 to {vlm.context_length - 2}.")
    return 1, 1 + count


def _count(n_ctx: int | None, initial: Tensor | None, words: str | None) -> int:
    if initial is not None:
        if n_ctx not in (None, len(initial)):
            raise LabkitError(
                f"words={words!r} are {len(initial)} tokens, not n_ctx={n_ctx}: leave n_ctx out."
            )
        return len(initial)
    n_ctx = 16 if n_ctx is None else n_ctx
    if isinstance(n_ctx, bool) or not isinstance(n_ctx, int) or n_ctx < 1:
        raise LabkitError(f"n_ctx is a whole number of at least 1, not {n_ctx!r}.")
    return n_ctx


def _order(lengths: Sequence[int], n_ctx: int, position: str, length: int) -> Tensor:
    """(C, L): which token of [SOS][V][class][.][EOS] stands at each place of the wanted order."""
    rows = []
    for count in lengths:
        context = list(range(1, 1 + n_ctx))
        name = list(range(1 + n_ctx, 1 + n_ctx + count))
        before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
        head = [0, *context[:before], *name, *context[before:]]
        rows.append(head + list(range(len(head), length)))
    return torch.tensor(rows)
