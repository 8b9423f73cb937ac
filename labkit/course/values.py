"""Are two values the same, and if not, what is the one sentence that says why?

Values are tensors, numbers, strings, bools, None, or tuples, lists and dicts of them.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LabkitError


def same(got: Any, want: Any, rtol: float, atol: float) -> bool:
    """Equal structure, shapes and dtypes, and |got - want| <= atol + rtol |want| everywhere."""
    return form(got, want) is None and difference(got, want, rtol, atol) is None


def form(got: Any, want: Any, where: str = "the result") -> str | None:
    """A sentence on structure, type, shape, dtype or a value that isn't finite; None if all fit."""
    if isinstance(want, dict):
        return _form_of_dict(got, want, where)
    if isinstance(want, tuple | list):
        return _form_of_sequence(got, want, where)
    if isinstance(want, Tensor | np.ndarray):
        return _form_of_tensor(got, torch.as_tensor(want), where)
    if isinstance(want, bool | np.bool_):
        return None if _bool(got) is not None else f"{_cap(where)} should be True or False, not {kind(got)}."
    if isinstance(want, numbers.Real):
        value = _number(got)
        if value is None:
            return f"{_cap(where)} should be a number, not {kind(got)}."
        if np.isfinite(float(want)) and not np.isfinite(value):
            return f"{_cap(where)} is {value}, where a finite number is expected."
        return None
    if isinstance(want, str) or want is None:
        fits = isinstance(got, str) if isinstance(want, str) else got is None
        wanted = "a string" if isinstance(want, str) else "None"
        return None if fits else f"{_cap(where)} should be {wanted}, not {kind(got)}."
    raise LabkitError(f"A check compares tensors, numbers, strings and containers of them, not {kind(want)}.")


def difference(got: Any, want: Any, rtol: float, atol: float, where: str = "the result") -> str | None:
    """A sentence on the first numeric difference; None if there is none. Assumes `form` found nothing."""
    for place, mine, theirs in leaves(got, want, where):
        sentence = _difference(mine, theirs, rtol, atol, _cap(place))
        if sentence:
            return sentence
    return None


def leaves(got: Any, want: Any, where: str = "the result") -> Iterator[tuple[str, Any, Any]]:
    """(place in words, got, want) for each tensor, number or string of two values of the same form."""
    if isinstance(want, dict):
        for key, value in want.items():
            yield from leaves(got[key], value, f"{where}[{key!r}]")
    elif isinstance(want, tuple | list):
        for position, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            yield from leaves(mine, theirs, _item(where, position))
    else:
        yield where, got, want


def kind(value: Any) -> str:
    """What a value is, in words a student knows."""
    if value is None:
        return "None (is a `return` missing?)"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]


def _item(where: str, position: int) -> str:
    return f"item {position} of {where}"


def _form_of_dict(got: Any, want: dict, where: str) -> str | None:
    if not isinstance(got, dict):
        return f"{_cap(where)} should be a dict with the keys {_keys(want)}, not {kind(got)}."
    if set(got) != set(want):
        return f"{_cap(where)} should have the keys {_keys(want)}, but has {_keys(got)}."
    faults = (form(got[key], want[key], f"{where}[{key!r}]") for key in want)
    return next((fault for fault in faults if fault), None)


def _keys(value: dict) -> str:
    return ", ".join(sorted(repr(key) for key in value)) or "none"


def _form_of_sequence(got: Any, want: tuple | list, where: str) -> str | None:
    if not isinstance(got, tuple | list):
        return f"{_cap(where)} should be a {type(want).__name__} of {len(want)} items, not {kind(got)}."
    if len(got) != len(want):
        return f"{_cap(where)} should have {len(want)} items, but has {len(got)}."
    faults = (form(g, w, _item(where, i)) for i, (g, w) in enumerate(zip(got, want, strict=True)))
    return next((fault for fault in faults if fault), None)


def _form_of_tensor(got: Any, want: Tensor, where: str) -> str | None:
    if not isinstance(got, Tensor):
        return f"{_cap(where)} should be a tensor of shape {tuple(want.shape)}, not {kind(got)}."
    if got.shape != want.shape:
        return f"{_cap(where)} has shape {tuple(got.shape)}, where {tuple(want.shape)} is expected."
    if got.dtype != want.dtype:
        return f"{_cap(where)} has dtype {_dtype(got)}, where {_dtype(want)} is expected."
    if want.is_floating_point() and torch.isfinite(want).all():
        bad = int((~torch.isfinite(got)).sum())
        if bad:
            entries = (
                f"in {bad} of {got.numel()} entries"
                if got.numel() > 1
                else "where a finite number is expected"
            )
            return f"{_cap(where)} is NaN or infinite {entries}."
    return None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bool(value: Any) -> bool | None:
    if isinstance(value, Tensor) and value.dtype == torch.bool and value.numel() == 1:
        value = value.item()
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _number(value: Any) -> float | None:
    """A real number as float; None for anything else, bools too."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return float(value)


def _difference(got: Any, want: Any, rtol: float, atol: float, where: str) -> str | None:
    if want is None:
        return None
    if isinstance(want, str):
        return None if got == want else f"{where} is {got!r}, which is not the expected text."
    if isinstance(want, bool | np.bool_):
        return (
            None if _bool(got) == bool(want) else f"{where} is {_bool(got)}, where {bool(want)} is expected."
        )
    if not isinstance(want, Tensor | np.ndarray):
        got, want = (
            torch.tensor(_number(got), dtype=torch.float64),
            torch.tensor(float(want), dtype=torch.float64),
        )
    mine = torch.as_tensor(got).detach().cpu()
    theirs = torch.as_tensor(want).detach().cpu()
    if mine.is_complex():
        mine, theirs = torch.view_as_real(mine), torch.view_as_real(theirs)
    mine, theirs = mine.double(), theirs.double()
    wrong = ~torch.isclose(mine, theirs, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        return None
    return f"{where} {_amount(mine, theirs, wrong, rtol)}."


def _amount(got: Tensor, want: Tensor, wrong: Tensor, rtol: float) -> str:
    """How far off, in the words that help most: a common factor, else the relative error."""
    solid = want.abs() > 1e-6 * want.abs().max().clamp(min=1e-30)
    if solid.any() and torch.isfinite(got).all() and torch.isfinite(want).all():
        factor = (got[solid] / want[solid]).median()
        everywhere = " everywhere" if got.numel() > 1 else ""
        if (
            factor != 0
            and abs(factor - 1) > 1e-3
            and torch.allclose(got, factor * want, rtol=max(rtol, 1e-5), atol=1e-9)
        ):
            return f"is {factor:.4g} times what it should be{everywhere}"
    error = ((got - want).abs().max() / want.abs().max().clamp(min=1e-12)).item()
    entries = f" in {int(wrong.sum())} of {wrong.numel()} entries" if wrong.numel() > 1 else ""
    return f"is off{entries}: relative error {error:.2g}, at most {rtol:.0e} allowed"
