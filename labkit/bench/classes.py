"""What settings say about the classes, held to the data: number, names, images in each; and their prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..errors import LabkitError, unknown

if TYPE_CHECKING:
    from ..data import DataModule


def checked(module: DataModule, s: SimpleNamespace) -> DataModule:
    """The data, with the classes named as the settings say.

    Args:
        module: the data.
        s: settings, of which `num_classes` is the number of classes, if set, and `class_names` either the
            list of all names in order, which must be the data's, or a mapping from some of the data's names
            to what shall be said in their place.

    Raises:
        LabkitError: the number or a name is another one in the data, two classes have one name, or a class
            has no image for training or for the test.
    """
    count, names = getattr(s, "num_classes", None), getattr(s, "class_names", None)
    if count is not None and count != module.num_classes:
        raise LabkitError(
            f"The settings say num_classes: {count}, but the data '{module.name}' have {module.num_classes}"
            " classes: mend the number, or name the root of the whole data."
        )
    if isinstance(names, Mapping):
        module = _renamed(module, {str(old): str(new) for old, new in names.items()})
    elif names:
        _compare([str(name) for name in names], module)
    seen: dict[str, str] = {}
    for name in module.classes:
        plain = _plain(name)
        if plain in seen:
            raise LabkitError(
                f"Two classes of '{module.name}' have the same name, '{seen[plain]}' and '{name}': a text"
                " can't tell them apart, so rename one of them."
            )
        seen[plain] = name
    for kind in ("train", "test"):
        present = set(getattr(module, kind).labels.tolist())
        for label, name in enumerate(module.classes):
            if label not in present:
                raise LabkitError(
                    f"The class '{name}' of '{module.name}' has no image in the {kind} split: add some, or"
                    " take the class out of the data."
                )
    return module


def _compare(names: Sequence[str], module: DataModule) -> None:
    """Raise LabkitError unless a list of names is that of the data."""
    if len(names) != module.num_classes:
        raise LabkitError(
            f"class_names lists {len(names)} names, but the data '{module.name}' have {module.num_classes}"
            " classes: list all of them in their order."
        )
    for number, (said, own) in enumerate(zip(names, module.classes, strict=True), 1):
        if _plain(said) != _plain(own):
            raise LabkitError(
                f"class_names and the data '{module.name}' disagree: class {number} is '{said}' in the list"
                f" and '{own}' in the data; mend the list, or write '{own}: {said}' to rename the class."
            )


def _renamed(module: DataModule, names: Mapping[str, str]) -> DataModule:
    for name in names:
        if name not in module.classes:
            raise unknown(f"class of '{module.name}' in class_names", name, module.classes)
    said = tuple(names.get(name, name) for name in module.classes)
    pairs = zip(module.descriptions, module.classes, said, strict=True)
    phrases = tuple(new if old == name else old for old, name, new in pairs)
    splits = {kind: replace(getattr(module, kind), classes=said) for kind in ("train", "val", "test")}
    return replace(module, **splits, descriptions=phrases)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def texts(s: SimpleNamespace, module: DataModule) -> list[str] | list[list[str]]:
    """One sentence per class, in their order; of several templates one such list each.

    Raises:
        LabkitError: there are sentences for another number of classes, or one of them twice.
    """
    if isinstance(s.prompts, str):
        return module.prompts(s.prompts)
    if not any("{" in text for text in s.prompts):
        if len(s.prompts) != module.num_classes:
            raise LabkitError(
                f"There are {len(s.prompts)} sentences for the {module.num_classes} classes of"
                f" '{module.name}': give one per class, or templates with a place {{}} for the name."
            )
        said = [_plain(text) for text in s.prompts]
        twice = next((text for text in said if said.count(text) > 1), None)
        if twice is not None:
            raise LabkitError(f"Two classes have the same sentence, '{twice}': a text can't tell them apart.")
        return list(s.prompts)
    made = [module.prompts(template) for template in s.prompts]
    return made if len(made) > 1 else made[0]


def said_names(s: SimpleNamespace, module: DataModule) -> tuple[str, ...]:
    """What each sentence contains: the class's name or description, or of a user's sentences all."""
    templates = [s.prompts] if isinstance(s.prompts, str) else s.prompts
    if not any("{" in text for text in templates):
        return tuple(templates)
    described = any("{description}" in text for text in templates)
    return tuple(module.descriptions if described else module.classes)
