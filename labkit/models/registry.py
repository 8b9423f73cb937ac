"""labkit's own networks by name. A new network = one decorated factory; nothing else is edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..errors import LabkitError
from .classifier import Parts

Factory = Callable[..., Parts]
F = TypeVar("F", bound=Factory)
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[F], F]:
    """Decorator: make a network available as `build(name, ...)`.

    The factory is called as `factory(num_classes, in_chans=..., image_size=..., **kw)`, both None where the
    caller left them open, and returns `Parts`. It may return those of another network (`timm_parts`).

    Raises:
        LabkitError: the name is taken.
    """

    def keep(factory: F) -> F:
        if name in _FACTORIES:
            raise LabkitError(f"There is already a model '{name}': register yours under another name.")
        _FACTORIES[name] = factory
        return factory

    return keep


def own_names() -> list[str]:
    """Names of labkit's own networks."""
    return sorted(_FACTORIES)


def own_factory(name: str) -> Factory | None:
    """The factory registered under `name`, if any."""
    return _FACTORIES.get(name)
