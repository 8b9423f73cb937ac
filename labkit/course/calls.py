"""Calling a student's object so that nothing leaks: no printing, no seeds, no in-place changes."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import values
from .checks import Check


@dataclass(frozen=True)
class Seen:
    """What one call gave: its value and gradients, or the exception it raised."""

    value: Any = None
    gradients: tuple[Tensor, ...] = ()
    error: BaseException | None = None

    def same(self, other: Seen, check: Check) -> bool:
        """Equal values and gradients within the check's tolerance, or the same exception."""
        if self.error or other.error:
            return type(self.error) is type(other.error) and str(self.error) == str(other.error)
        gradients = values.same(self.gradients, other.gradients, check.rtol, check.atol)
        return gradients and self.same_value(other, check)

    def same_value(self, other: Seen, check: Check) -> bool:
        """Equal values, whatever the gradients."""
        if self.error or other.error:
            return False
        return values.same(self.value, other.value, check.rtol, check.atol)


def see(check: Check, answer: Any, seed: int) -> Seen:
    """Draw the inputs, let the check look at `answer`, and keep what came of it, exceptions too."""
    with isolated(seed):
        inputs = copy.deepcopy(tuple(check.draw(seed)))
    leaves = [inputs[position] for position in check.differentiable]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    given = list(inputs)
    for position, leaf in zip(check.differentiable, leaves, strict=True):
        given[position] = leaf
    with isolated(seed):
        try:
            value = observe(check, answer, given)
            return Seen(_settle(value), _gradients(value, leaves))
        except (Exception, SystemExit) as error:
            return Seen(error=error)


def observe(check: Check, answer: Any, inputs: list) -> Any:
    """The value of an answer on these inputs."""
    if check.observe is not None:
        return check.observe(answer, *inputs)
    return answer(*inputs) if callable(check.reference) else answer


def _settle(value: Any) -> Any:
    """The value without its graph and safe from later in-place changes."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _settle(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_settle(item) for item in value]
    return copy.copy(value) if isinstance(value, np.ndarray) else value


def _gradients(value: Any, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a fixed uneven weighting of all outputs (a plain sum is blind to softmax)."""
    if not leaves:
        return ()
    outputs = [
        leaf for _, leaf, _ in values.leaves(value, value) if isinstance(leaf, Tensor) and leaf.requires_grad
    ]
    total = sum((out * _weights(out)).sum() for out in outputs)
    if not outputs:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g.detach() for x, g in zip(leaves, found, strict=True))


def _weights(out: Tensor) -> Tensor:
    return (
        torch.cos(torch.arange(out.numel(), device=out.device, dtype=torch.float64))
        .view(out.shape)
        .to(out.dtype)
    )


@contextlib.contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed every generator, switch gradients on, swallow output; put everything back afterwards."""
    python, numpy_state = random.getstate(), np.random.get_state()
    dtype = torch.get_default_dtype()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(gpus)), torch.enable_grad(), quiet():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python)
            np.random.set_state(numpy_state)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow prints, warnings, and in a notebook displays and figures."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if _shell() is not None:
            from IPython.utils.capture import capture_output

            stack.enter_context(capture_output())
        else:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None
