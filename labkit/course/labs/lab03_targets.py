"""Check of lab 03 on shuffling a teacher's opinion of the wrong classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception

_ROWS = 600


def _draw(seed: int) -> tuple[Tensor, Tensor]:
    return torch.randn(9, 6), torch.randperm(7).float()


def _observe(shuffle: Any, logits: Tensor, row: Tensor) -> dict[str, Any]:
    """What any shuffling must do to nine rows, and to many equal ones. No order is prescribed."""
    given = logits.clone()
    shuffled = shuffle(given)
    top, fits = logits.argmax(1, keepdim=True), shuffled.shape == logits.shape
    many = row.expand(_ROWS, -1).contiguous()
    first, second = shuffle(many.clone()), shuffle(many.clone())
    others = row.argsort()[:-1].sort().values  # the places of all but the largest
    square = first.shape == many.shape
    means = first[:, others].double().mean(0) if square else torch.zeros(0)
    even = row[others].double().mean()
    return {
        "the shape": list(shuffled.shape),
        "the logits that went in are unchanged": bool(torch.equal(given, logits)),
        "the largest logit at its old place": shuffled.gather(1, top) if fits else 0,
        "the values of each row": shuffled.sort(1).values,
        "nothing moves": torch.equal(first, many),
        "the other values end up sorted": bool((first[:, others].diff(dim=1) > 0).all()) if square else True,
        "rows that are equal get different orders": len(first.unique(dim=0)) > 1,
        "a second call gives another order": not torch.equal(first, second),
        "every order is as likely as any other": bool(((means - even).abs() < 0.5).all()),
    }


def shuffle_others(logits: Tensor) -> Tensor:
    """Each row with its largest logit in place and all others in a random order of their own."""
    top = logits.argmax(1, keepdim=True)
    keys = torch.rand_like(logits).scatter(1, top, 2.0)  # the largest logit comes last
    places = torch.arange(logits.shape[1]).expand_as(logits)
    free = torch.where(places == top, logits.shape[1], places).sort(1).values[:, :-1]
    order = keys.argsort(1)[:, :-1]
    return logits.scatter(1, free, logits.gather(1, order))


def _all_moved(logits: Tensor) -> Tensor:
    return logits.gather(1, torch.rand_like(logits).argsort(1))


def _fixed_places(logits: Tensor, permute: Any) -> Tensor:
    """Others rearranged by `permute` (B, N - 1) -> (B, N - 1), the largest in place."""
    top = logits.argmax(1, keepdim=True)
    mask = torch.ones_like(logits, dtype=torch.bool).scatter(1, top, False)
    others = logits[mask].view(len(logits), -1)
    return logits.masked_scatter(mask, permute(others))


def _one_order(logits: Tensor) -> Tensor:
    return _fixed_places(logits, lambda x: x[:, torch.randperm(x.shape[1])])


def _rolled(logits: Tensor) -> Tensor:
    return _fixed_places(logits, lambda x: x.roll(1, 1))


def _reversed(logits: Tensor) -> Tensor:
    return _fixed_places(logits, lambda x: x.sort(1).values)


def _over_the_batch(logits: Tensor) -> Tensor:
    return _fixed_places(logits, lambda x: x[torch.randperm(len(x))])


def _in_place(logits: Tensor) -> Tensor:
    logits.copy_(shuffle_others(logits))
    return logits


def _in_front(logits: Tensor) -> Tensor:
    out = shuffle_others(logits)
    top = logits.argmax(1)
    rows = [torch.cat([r[t : t + 1], r[:t], r[t + 1 :]]) for r, t in zip(out, top.tolist(), strict=True)]
    return torch.stack(rows)


def _averaged(logits: Tensor) -> Tensor:
    return _fixed_places(logits, lambda x: x.mean(1, keepdim=True).expand_as(x).contiguous())


def _same_seed(logits: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shuffle_others(logits)


SHUFFLE = Check(
    id="03-shuffle-others",
    title="the teacher's other classes, shuffled",
    points=3,
    minutes=12,
    difficulty=4,
    draw=_draw,
    observe=_observe,
    reference=shuffle_others,
    misconceptions=(
        Misconception(
            "the largest logit shuffled as well",
            _all_moved,
            "The largest logit moves too, so the teacher now names wrong classes. It has to stay where it is:"
            " then only its opinion of the *others* is lost.",
        ),
        Misconception(
            "one order for the whole batch",
            _one_order,
            "All rows are shuffled in the same order. Then similar classes may still get similar values, row"
            " by"
            " row. Every image needs an order of its own.",
        ),
        Misconception(
            "moved by one place",
            _rolled,
            "That is a fixed rule, which the student could learn to undo: every image needs a random order.",
        ),
        Misconception(
            "sorted",
            _reversed,
            "Sorting is no shuffling: class 0 always gets the smallest value, which is a lesson of its own.",
        ),
        Misconception(
            "exchanged between images",
            _over_the_batch,
            "The rows no longer hold their own values: you exchange them between images, and with them how"
            " sure"
            " the teacher was. Shuffle within each row.",
        ),
        Misconception(
            "the teacher's own tensor overwritten",
            _in_place,
            "The shuffling is right, but it overwrites the tensor that it was given: the caller's logits are"
            " gone. Return a new tensor.",
        ),
        Misconception(
            "the largest logit moved to the front",
            _in_front,
            "The largest logit must keep its *place*, the class that it belongs to; yours is always class 0.",
        ),
        Misconception(
            "the others averaged",
            _averaged,
            "That makes them all equal, which is another control: a teacher without any opinion. Here the"
            " values"
            " stay and only their owners change.",
        ),
        Misconception(
            "the same order at every call",
            _same_seed,
            "Two calls give the same order. A seed set inside the function makes every batch alike: leave the"
            " generator alone.",
        ),
        Misconception(
            "nothing shuffled",
            lambda logits: logits.clone(),
            "Nothing has moved.",
        ),
    ),
    hints=(
        "A loop over the rows is fine: which places may be filled, and with which values in which order?",
        "Per row: top = row.argmax(); others = all places but top; row[others] ="
        " row[others[torch.randperm(len(others))]], on a clone of the logits.",
        "Row [5, 1, 9, 3]: top is place 2, the others are places [0, 1, 3] with values [5, 1, 3]; a random"
        " order"
        " of these, say [3, 5, 1], gives [3, 5, 9, 1].",
    ),
)
