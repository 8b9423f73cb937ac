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
    """What any shuffling must do to nine rows, and to many equal ones. No order is prescribed.

    Wrong answers are random, too, so all that is looked at are laws that hold or don't.
    """
    torch.rand(99)  # else new values drawn by an answer could be just those of `logits`
    given = logits.clone()
    shuffled = shuffle(given)
    many = row.expand(_ROWS, -1).contiguous()
    first, second = shuffle(many.clone()), shuffle(many.clone())
    seen = {
        "the sum of the logits that went in": given.double().sum().item(),
        "the logits that went in are unchanged": bool(torch.equal(given, logits)),
        "the shape": list(shuffled.shape),
    }
    if shuffled.shape != logits.shape or first.shape != many.shape:
        return seen
    top, others = logits.argmax(1), row.argsort()[:-1].sort().values  # the places of all but the largest
    means = first[:, others].double().mean(0)
    pairs = ((shuffled, logits), (first, many))
    in_many = _at(first, many, row.argmax().expand(_ROWS))
    return seen | {
        "nothing moves": torch.equal(first, many),
        "the largest logit stays at its place": _at(shuffled, logits, top),
        "the largest logit stays at its place in many equal rows": in_many,
        "the largest logit becomes the first": _at(shuffled, logits, top, 0 * top),
        "each row keeps its values": all(torch.equal(x.sort(1)[0], y.sort(1)[0]) for x, y in pairs),
        "each value comes from its row": all(
            bool((x[:, :, None] == y[:, None]).any(2).all()) for x, y in pairs
        ),
        "all rows together keep their values": torch.equal(
            shuffled.flatten().sort().values, logits.flatten().sort().values
        ),
        "the other values end up sorted": bool((first[:, others].diff(dim=1) > 0).all()),
        "rows that are equal get different orders": len(first.unique(dim=0)) > 1,
        "a second call gives another order": not torch.equal(first, second),
        "every order is as likely as any other": bool(((means - means.mean()).abs() < 0.5).all()),
    }


def _at(found: Tensor, logits: Tensor, top: Tensor, place: Tensor | None = None) -> bool:
    """Whether the largest logit of every row is found at `place`, which is its own by default."""
    place = top if place is None else place
    return torch.equal(found.gather(1, place[:, None]), logits.gather(1, top[:, None]))


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


def _doubled(logits: Tensor) -> Tensor:
    """Positions among the others used as places in the row."""
    out = logits.clone()
    for row in out:
        others = torch.tensor([i for i in range(len(row)) if i != row.argmax()])
        row[others] = row[torch.randperm(len(others))]
    return out


def _columns(logits: Tensor) -> Tensor:
    return logits[:, torch.randperm(logits.shape[1])]


def _rows(logits: Tensor) -> Tensor:
    return logits[torch.randperm(len(logits))]


def _largest_of_all(logits: Tensor) -> Tensor:
    """The largest of the whole batch takes the place of each row's own."""
    top = torch.full((len(logits), 1), logits.argmax().item() % logits.shape[1])
    keys = torch.rand_like(logits).scatter(1, top, 2.0).argsort(1)[:, :-1]
    places = torch.arange(logits.shape[1]).expand_as(logits)
    free = places[places != top].view(len(logits), -1)
    return logits.scatter(1, free, logits.gather(1, keys))


def _turned(logits: Tensor) -> Tensor:
    def turn(x: Tensor) -> Tensor:
        return torch.stack([row.roll(int(torch.randint(1, len(row), ()))) for row in x])

    return _fixed_places(logits, turn)


def _noise(logits: Tensor) -> Tensor:
    top = logits.argmax(1, keepdim=True)
    return torch.randn_like(logits).scatter(1, top, logits.gather(1, top))


def _dropped(logits: Tensor) -> Tensor:
    return _in_front(logits)[:, 1:]


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
            "The largest logit moves too, so the teacher now names wrong classes. It has to stay where it"
            " is: then only its opinion of the *others* is lost.",
        ),
        Misconception(
            "one order for the whole batch",
            _one_order,
            "All rows are shuffled in the same order. Then similar classes may still get similar values,"
            " row by row. Every image needs an order of its own.",
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
            " sure the teacher was. Shuffle within each row.",
        ),
        Misconception(
            "the teacher's own tensor overwritten",
            _in_place,
            "The shuffling is right, but it overwrites the tensor that it was given: the caller's logits"
            " are gone. Return a new tensor.",
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
            " values stay and only their owners change.",
        ),
        Misconception(
            "the same order at every call",
            _same_seed,
            "Two calls give the same order. A seed set inside the function makes every batch alike: leave"
            " the generator alone.",
        ),
        Misconception(
            "nothing shuffled",
            lambda logits: logits.clone(),
            "Nothing has moved. (In a loop over rows, `row = ...` only gives the name to another tensor;"
            " `row[others] = ...` writes into it.)",
        ),
        Misconception(
            "values lost and doubled",
            _doubled,
            "Some values are lost and others are there twice. torch.randperm(len(others)) numbers the"
            " *others*: use it to index them, row[others[...]]. (Or the largest was put back over what had"
            " taken its place.)",
        ),
        Misconception(
            "whole columns shuffled",
            _columns,
            "You shuffle the columns: one order for all rows, and the largest logits move with them. Every"
            " row needs an order of its own, for all but its largest.",
        ),
        Misconception(
            "whole rows exchanged",
            _rows,
            "You exchange whole rows: each image gets the opinion on another one. Shuffle within a row.",
        ),
        Misconception(
            "one largest logit for the whole batch",
            _largest_of_all,
            "The place that stays is the same in every row. Each row has a largest logit of its own:"
            " row.argmax(), or logits.argmax(1).",
        ),
        Misconception(
            "turned, not shuffled",
            _turned,
            "Your rows only turn round by a random number of places, so not every order can come up: use"
            " torch.randperm.",
        ),
        Misconception(
            "new values",
            _noise,
            "The other values are new ones. Keep the values of the row and change only their places.",
        ),
        Misconception(
            "the largest logit left out",
            _dropped,
            "Your rows are one class short: write the shuffled values back around the largest one, which"
            " stays.",
        ),
        Misconception(
            "probabilities returned",
            lambda logits: shuffle_others(logits.softmax(1)),
            "What you return are probabilities; shuffle the logits themselves.",
        ),
    ),
    hints=(
        "A loop over the rows is fine: which places may be filled, and with which values in which order?",
        "Per row of a clone: the places of all but the largest, in order; the values at these places, in"
        " the order of torch.randperm; write the second into the first.",
        "Row [5, 1, 9, 3]: top is place 2, the others are places [0, 1, 3] with values [5, 1, 3]; a random"
        " order of these, say [3, 5, 1], gives [3, 5, 9, 1].",
    ),
)
