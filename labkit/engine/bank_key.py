"""What a bank's entries depend on, as hashes: the images one by one, and the encoder with all that it does.

A bank is used again only where all of it is the same. The doubtful case is decided against the old bank: it
costs time to encode again, and a wrong result to use what another encoder made.
"""

from __future__ import annotations

import dis
import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import rng
from ..data import FileSet, ImageSet, augment, images
from ..errors import MissingError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, Path)
_ROWS = 256  # images fetched at once
_DEPTH = 8  # of objects within objects


def sample_digests(split: ImageSet | FileSet) -> Tensor:
    """A hash of each image, (N,) int64 in the split's order.

    Of the pixels in memory, before `fetch` scales them, and of a file's bytes on disk.

    Raises:
        MissingError: a file is gone.
    """
    if isinstance(split, FileSet):
        with ThreadPoolExecutor() as pool:
            numbers = list(pool.map(_file_digest, split.paths))
    else:
        chunks = split.images.split(_ROWS)
        numbers = [_number(row) for chunk in chunks for row in chunk.cpu().contiguous().numpy()]
    return torch.tensor(numbers, dtype=torch.int64)


def _file_digest(path: str | Path) -> int:
    try:
        return _number(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise MissingError(f"The image {path} is gone: load the data set again.") from error


def _number(content: Any) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little", signed=True)


def split_digest(split: ImageSet | FileSet, samples: Tensor) -> str:
    """The images' content, ids and size; not their labels, on which no encoder depends."""
    total = hashlib.sha256(f"{type(split).__name__} {split.image_size} {split.channels}".encode())
    if isinstance(split, ImageSet):
        total.update(str(tuple(split.images.shape[1:])).encode())
    for numbers in (samples, split.ids.cpu()):
        total.update(numbers.numpy().tobytes())
    return total.hexdigest()


def module_digest(module: nn.Module) -> str:
    """Class, code, settings, parameters and buffers of `module` and of every module in it."""
    return value_digest(module)


def value_digest(value: Any) -> str:
    """A hash of whatever an encoder is made of: modules, tensors, functions, plain values and containers."""
    total = hashlib.sha256()
    for part in _describe(value, set(), 0):
        total.update(f"{type(part).__name__}{len(part)}:".encode())
        total.update(part if isinstance(part, bytes) else part.encode())
    return total.hexdigest()


def transform_digest(augmented: bool) -> str:
    """The code that makes a view: how an image is decoded and scaled, and if `augmented` what is drawn."""
    modules = (images, augment, rng) if augmented else (images,)
    return hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in modules)).hexdigest()


def key_of(facts: dict[str, Any]) -> str:
    """A short name for plain facts: 20 hexadecimal digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _module(module: nn.Module, seen: set[int], depth: int) -> Iterator[str | bytes]:
    """Without train/eval mode, hooks and names that begin with an underscore (caches, counters)."""
    for name, inner in module.named_modules():
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        yield f"module {name} {_name(type(inner))} {inner.extra_repr()}"
        yield from _code_of_class(type(inner), seen)
        for key, value in sorted(vars(inner).items()):
            if not key.startswith("_") and key != "training":
                yield f".{key}"
                yield from _describe(value, seen, depth + 1)
        tensors = [*inner.named_parameters(recurse=False), *inner.named_buffers(recurse=False)]
        for key, value in tensors:
            yield f"tensor {key}"
            yield from _tensor(value)


def _tensor(value: Tensor) -> Iterator[str | bytes]:
    yield f"{tuple(value.shape)} {value.dtype}"
    if not value.is_meta and value.numel():
        flat = value.detach().cpu().contiguous().reshape(-1)
        yield hashlib.sha256(flat.view(torch.uint8).numpy()).digest()


def _describe(value: Any, seen: set[int], depth: int) -> Iterator[str | bytes]:
    """Whatever an encoder may hold; of an unknown object, its class alone."""
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif depth > _DEPTH or isinstance(value, type):
        yield _name(value if isinstance(value, type) else type(value))
    elif isinstance(value, nn.Module):
        yield from _module(value, seen, depth)
    elif isinstance(value, Tensor):
        yield from _tensor(value)
    elif isinstance(value, np.ndarray):
        yield f"{value.shape} {value.dtype}"
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, types.FunctionType | types.MethodType | partial):
        yield from _function(value, seen, depth)
    else:
        yield from _container(value, seen, depth)


def _container(value: Any, seen: set[int], depth: int) -> Iterator[str | bytes]:
    yield _name(type(value))
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: repr(item[0]))
        inner: list[Any] = [part for item in items for part in item]
    elif isinstance(value, list | tuple):
        inner = list(value)
    elif isinstance(value, set | frozenset):
        inner = sorted(value, key=repr)
    elif is_dataclass(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    elif callable(getattr(value, "to_dict", None)):  # the configurations of transformers and peft
        if id(value) in seen:  # one configuration, shared by all layers
            return
        seen.add(id(value))
        inner = [value.to_dict()]
    else:
        return
    yield str(len(inner))
    for part in inner:
        yield from _describe(part, seen, depth + 1)


def _function(value: Any, seen: set[int], depth: int) -> Iterator[str | bytes]:
    """A function's code, defaults and the variables that it closes over."""
    if isinstance(value, partial):
        yield from _describe([value.func, value.args, value.keywords], seen, depth + 1)
        return
    if isinstance(value, types.MethodType):
        yield from _describe(value.__self__, seen, depth + 1)
        value = value.__func__
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    if not isinstance(value, types.FunctionType) or id(value) in seen:
        return
    seen.add(id(value))
    yield from _code(value.__code__)
    yield from _describe([value.__defaults__, value.__kwdefaults__], seen, depth + 1)
    if value.__module__ == "__main__":  # a notebook or a script: its global functions and networks, too
        for name in sorted(_globals(value.__code__) & value.__globals__.keys()):
            target = value.__globals__[name]
            if isinstance(target, (types.FunctionType, nn.Module, *_PLAIN)):
                yield name
                yield from _describe(target, seen, depth + 1)
    for cell in value.__closure__ or ():
        try:
            inside = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if not isinstance(inside, type):  # `__class__`, of every method that calls super()
            yield from _describe(inside, seen, depth + 1)


def _code_of_class(cls: type, seen: set[int]) -> Iterator[str | bytes]:
    """A cell that is run again may define the same class with another `forward`."""
    for base in cls.__mro__:
        if base in (nn.Module, object) or id(base) in seen:
            continue
        seen.add(id(base))
        yield f"class {_name(base)}"
        for name, value in sorted(vars(base).items(), key=lambda item: item[0]):
            value = getattr(value, "fget", None) or getattr(value, "__func__", value)  # property, static
            if isinstance(value, types.FunctionType):
                yield name
                yield from _function(value, seen, 0)


def _code(code: types.CodeType) -> Iterator[str | bytes]:
    """Without file names and line numbers."""
    yield code.co_code
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _globals(code: types.CodeType) -> set[str]:
    """Names of the global variables that the code reads."""
    inner = [_globals(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*inner)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
