"""Check of lab 02: the Pareto front of latency and accuracy."""

from __future__ import annotations

import itertools

import torch

from ..checks import Check, Misconception


def _draw_points(seed: int) -> tuple[list[float], list[float]]:
    """Nine networks: four on the front, which has a dent; ties in latency and in accuracy; five dominated."""
    a, b, c, d = (1 + 2 * x for x in torch.rand(4).tolist())
    fast = [a, a + b, a + b + c, a + b + c + d]
    good = [
        60 + a,
        60.2 + a,
        66 + a + b,
        68 + a + b + c,
    ]  # the second lies below the line from first to third
    slow = fast[3] + 1
    beaten = [
        (fast[1], good[1] - 0.1), (fast[2] + 0.1, good[2]), (fast[2] + 0.2, good[1] - 0.15),
        (fast[2] + 0.3, good[1] + 0.05), (slow, good[0] - 2),
    ]  # fmt: skip
    points = [*zip(fast, good, strict=True), *beaten]
    points = [points[i] for i in torch.randperm(len(points)).tolist()]
    return [round(x, 4) for x, _ in points], [round(y, 4) for _, y in points]


def pareto_front(latency, accuracy):
    """Positions of the points that no other point dominates, from the fastest to the slowest."""

    def beats(j, i):
        no_worse = latency[j] <= latency[i] and accuracy[j] >= accuracy[i]
        return no_worse and (latency[j] < latency[i] or accuracy[j] > accuracy[i])

    points = range(len(latency))
    front = [i for i in points if not any(beats(j, i) for j in points)]
    return sorted(front, key=lambda i: latency[i])


def _keep(beats, order=True):
    """A front with another meaning of 'dominates': beats(latency j, latency i, accuracy j, accuracy i)."""

    def answer(latency, accuracy):
        points = range(len(latency))
        front = [
            i for i in points
            if not any(beats(latency[j], latency[i], accuracy[j], accuracy[i]) for j in points)
        ]  # fmt: skip
        return sorted(front, key=lambda i: latency[i]) if order else front

    return answer


def _dominates(lj, li, aj, ai) -> bool:
    return lj <= li and aj >= ai and (lj < li or aj > ai)


def _better_than_previous(latency, accuracy):
    order = sorted(range(len(latency)), key=lambda i: (latency[i], -accuracy[i]))
    return order[:1] + [i for h, i in itertools.pairwise(order) if accuracy[i] > accuracy[h]]


def _hull(latency, accuracy):
    front: list[int] = []
    for i in pareto_front(latency, accuracy):
        while len(front) > 1 and _left_of(front[-2], front[-1], i, latency, accuracy):
            front.pop()
        front.append(i)
    return front


def _left_of(a, b, c, x, y) -> bool:
    return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]) >= 0


def _sorted_positions(latency, accuracy):
    order = sorted(range(len(latency)), key=lambda i: latency[i])
    return [order.index(i) for i in pareto_front(latency, accuracy)]


PARETO = Check(
    id="02-pareto",
    title="the networks that no other network beats",
    points=3,
    minutes=8,
    difficulty=3,
    draw=_draw_points,
    reference=pareto_front,
    misconceptions=(
        Misconception(
            "beaten only where both are strictly better",
            _keep(lambda lj, li, aj, ai: lj < li and aj > ai),
            "A network that is as fast and more accurate also dominates: no worse in both, strictly better"
            " in at least one.",
        ),
        Misconception(
            "every network beaten by itself",
            _keep(lambda lj, li, aj, ai: lj <= li and aj >= ai),
            "A network is no worse than itself, so everything is beaten. Dominating also needs one of the"
            " two to be strictly better.",
        ),
        Misconception(
            "the convex hull",
            _hull,
            "You also dropped points that lie below a straight line between two others. No network sits on"
            " that line, so such a point is not beaten: it stays.",
        ),
        Misconception(
            "compared with the previous network only",
            _better_than_previous,
            "Better than the one before is not enough: compare with the best of *all* that are at least as"
            " fast.",
        ),
        Misconception(
            "low accuracy taken for good",
            lambda latency, accuracy: pareto_front(latency, [-a for a in accuracy]),
            "Fast means a small latency, good means a *large* accuracy: one comparison points the other way.",
        ),
        Misconception(
            "high latency taken for good",
            lambda latency, accuracy: pareto_front([-x for x in latency], accuracy)[::-1],
            "A small latency is the good one.",
        ),
        Misconception(
            "the order of the list kept",
            _keep(_dominates, order=False),
            "The right networks in the wrong order: sort their positions by latency.",
        ),
        Misconception(
            "from the slowest to the fastest",
            lambda latency, accuracy: pareto_front(latency, accuracy)[::-1],
            "The right networks the wrong way round: begin with the fastest.",
        ),
        Misconception(
            "the beaten networks",
            lambda latency, accuracy: sorted(
                set(range(len(latency))) - set(pareto_front(latency, accuracy)), key=lambda i: latency[i]
            ),
            "These are the ones that something else beats: keep the others.",
        ),
        Misconception(
            "positions in the sorted list",
            _sorted_positions,
            "Sorting moved the points. Return each point's position in the lists you were given.",
        ),
        Misconception(
            "one winner by accuracy per millisecond",
            lambda latency, accuracy: [max(range(len(latency)), key=lambda i: accuracy[i] / latency[i])],
            "A ratio fixes an exchange rate nobody asked for and always ends with one winner. Keep every"
            " network that nothing dominates.",
        ),
    ),
    hints=(
        "For each point ask: does any other point dominate it?",
        "Definition (6) has three comparisons; write it as a small function of two positions. Then filter"
        " and sort.",
        "Of flats with rent and size you would drop one only if another costs no more and is no smaller,"
        " and is better in one of the two. Cheap and small may stay, dear and large too.",
    ),
)
