"""Check of lab 02: a comparison of two networks, as published, in which three things are missing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import Check, Misconception
from .lab02_timing import IMAGE, fractions

_WARM = 5


def _draw_pair(seed: int) -> tuple[float, float, float, float, list[float], int]:
    """(work of the teacher, of the student, their launch times, cold starts, runs)."""
    a, b, c, d, *rest = fractions(7)
    cold = sorted((10 + 30 * x for x in rest), reverse=True)
    return 14 + 6 * a, 6 + 3 * b, 1.5 + c, 0.7 + 0.5 * d, cold, 6 + seed % 4


def _on_pretend_pair(answer, work, student_work, launch, student_launch, cold, runs) -> float:
    from ...bench.pretend import PretendDevice, PretendNet

    device = PretendDevice()
    teacher = PretendNet(device, work, launch_ms=launch, cold_ms=cold, training=1.2)
    student = PretendNet(device, student_work, launch_ms=student_launch, cold_ms=cold, training=1.7)
    return answer(teacher, student, IMAGE, runs, device)


def speedup(teacher, student, image, runs, device):
    """How many times sooner the student answers, one request at a time."""
    mean = []
    with torch.inference_mode():
        for model in (teacher, student):
            model.eval()
            for _ in range(_WARM):
                model(image)
            device.synchronise()
            start = device.clock()
            for _ in range(runs):
                model(image)
                device.synchronise()
            mean.append((device.clock() - start) / runs)
    return mean[0] / mean[1]


def _partly(*, evaluate="both", warm=(_WARM, _WARM), queue_empty=True, wait="each", invert=False):
    """The comparison with some of its missing lines still missing."""

    def answer(teacher, student, image: Tensor, runs, device):
        mean = []
        with torch.inference_mode():
            for model, calls in zip((teacher, student), warm, strict=True):
                if evaluate == "both" or (evaluate == "teacher" and model is teacher):
                    model.eval()
                for _ in range(calls):
                    model(image)
                if queue_empty:
                    device.synchronise()
                start = device.clock()
                for _ in range(runs):
                    model(image)
                    if wait == "each":
                        device.synchronise()
                if wait == "end":
                    device.synchronise()
                mean.append((device.clock() - start) / runs)
        return mean[1] / mean[0] if invert else mean[0] / mean[1]

    return answer


SPEEDUP = Check(
    id="02-find-bug",
    title="a fair comparison of teacher and student",
    points=3,
    minutes=8,
    difficulty=3,
    draw=_draw_pair,
    reference=speedup,
    observe=_on_pretend_pair,
    misconceptions=(
        Misconception(
            "the clock is stopped while the device still works",
            _partly(wait="never"),
            "As long as nothing waits for the device, no other mend can show: this compares how long"
            " Python takes to hand over the two networks' work. Let every request be answered before the"
            " next one is sent.",
        ),
        Misconception(
            "waiting only after the loop",
            _partly(wait="end"),
            "Now all the work is counted, but the device never pauses between requests: that is"
            " throughput. The docstring asks for one request at a time, so wait inside the loop.",
        ),
        Misconception(
            "waiting only after the loop, warm-up and mode not mended",
            _partly(evaluate="none", warm=(0, 0), wait="end"),
            "Waiting is what matters most, but it belongs inside the loop: one request at a time, says the"
            " docstring. After that, two things are still missing: how warm are the networks, and in which"
            " mode?",
        ),
        Misconception(
            "waiting mended, warm-up and mode not",
            _partly(evaluate="none", warm=(0, 0)),
            "The most important thing is in place. Two are still missing: what do the first calls pay for,"
            " and in which mode are the two networks?",
        ),
        Misconception(
            "no warm-up",
            _partly(warm=(0, 0)),
            "The first calls of *each* network are slower, and you average over them.",
        ),
        Misconception(
            "only the teacher warmed up",
            _partly(warm=(_WARM, 0)),
            "The second network's first calls are cold as well, whatever ran before it: warm up inside the"
            " loop over the models.",
        ),
        Misconception(
            "a warm-up of a single call",
            _partly(warm=(1, 1)),
            "Better, but here more than one call is cold. Five warm-up calls cost nothing.",
        ),
        Misconception(
            "both networks in training mode",
            _partly(evaluate="none"),
            "A new or freshly trained network is in training mode, and `inference_mode` does not change"
            " that.",
        ),
        Misconception(
            "the student left in training mode",
            _partly(evaluate="teacher"),
            "The teacher is in evaluation mode, the student is not: after training it, nobody switched it"
            " back.",
        ),
        Misconception(
            "the warm-up's work still queued when the clock starts",
            _partly(queue_empty=False),
            "The warm-up is handed over, but not finished, when the clock starts: wait once more before it.",
        ),
        Misconception(
            "the ratio upside down",
            _partly(invert=True),
            "How many times sooner the *student* answers: the teacher's time goes on top.",
        ),
    ),
    hints=(
        "Nothing that stands there is wrong. Ask of each network: which mode, how warm, and when is it"
        " finished?",
        "Your own timer of section 3 has all that is missing here; `device.synchronise()` is its"
        " `synchronise()`.",
        "Comparing two runners: both in running shoes, both warmed up, and the watch stops at the finish,"
        " not when the starting gun is put away.",
    ),
)
