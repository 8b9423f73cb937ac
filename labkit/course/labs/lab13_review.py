"""Check of lab 13 on the review of a public implementation: which line is behind which symptom.

The listing stands in the notebook; a test compares its lines with those named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..checks import Check, Misconception

LINES = 58  # of the listing


@dataclass(frozen=True)
class Defect:
    """What a reviewer sees go wrong, the lines accepted as its cause, a word of the first one, and a hint."""

    symptom: str
    lines: tuple[int, ...]
    code: str
    hint: str


DEFECTS = (
    Defect(
        "from the third epoch on nothing is distilled",
        (43, 52),
        "0.5 * epoch",
        "Print lambda for epochs 0, 1, 2, 3. What should stand in place of the epoch's number?",
    ),
    Defect(
        "every target of SIA is nearly uniform",
        (39, 41),
        "/ T",
        "Cosines lie in a narrow band and are only divided here: look for the logits, and what they lack.",
    ),
    Defect(
        "SIA's target moves towards the intermediate",
        (37, 36, 39, 41),  # 36: the texts, through a trained layer, too
        "v = f_img",
        "The target should be a constant of the raw space. Which line makes it out of a trained layer, or"
        " lets the gradient into it?",
    ),
    Defect(
        "the regression is content when all condensed images are one",
        (42,),
        "l1_loss",
        "A regression loss whose both sides are trained is content with a constant: where do two trained"
        " embeddings meet without a detach?",
    ),
    Defect(
        "the same photograph gets another embedding each time",
        (31,),
        "randn",
        "Which line answers without looking at the image?",
    ),
    Defect(
        "the frozen teacher switches parts of itself off at random",
        (35,),
        "train()",
        "Dropout and drop path are active in one mode only. Who puts the teacher into it?",
    ),
    Defect(
        "every step encodes the texts of all classes",
        (36,),
        "encode_text",
        "The class texts never change: which line makes them again in every step?",
    ),
    Defect(
        "each image passes twice through the intermediate",
        (12, 13),
        "self.body",
        "Count how often `self.body` runs in one forward pass of the intermediate.",
    ),
    Defect(
        "labels and alignment pull at the same 512 numbers of the intermediate",
        (9, 13),
        "self.head",
        "The head should read what the backbone says, not what is bent towards the texts: what does it sit"
        " on?",
    ),
    Defect(
        "without a network connection another model is trained, without a word",
        (4, 6, 7),
        "try:",
        "Which lines turn a failed download into a success?",
    ),
    Defect(
        "the spatial loss compares one vector per image",
        (20, 49),
        "[:-1]",
        "After which line has one of the two maps a single place left?",
    ),
    Defect(
        "376 of the intermediate's 888 channels are never compared",
        (51,),
        ":fmap.shape[1]",
        "Two widths don't fit, and somebody made them fit: look for a slice.",
    ),
    Defect(
        "what is deployed is no plain ResNet-18",
        (21, 25, 26),
        "self.adapter",
        "A helper of the training lies on the way from image to class. Which one?",
    ),
    Defect(
        "validation never sees a new image",
        (58,),
        "return train, train",
        "Where do the validation images come from?",
    ),
)


def _observe_review(answer: Any) -> str:
    """The first symptom whose line is not right; nothing where all are."""
    if not isinstance(answer, dict):
        return "no dict"
    for defect in DEFECTS:
        named = answer.get(defect.symptom)
        if named is None or named is ...:
            return "open"
        named = (
            {named}
            if isinstance(named, int)
            else set(named)
            if isinstance(named, tuple | list | set)
            else {0}
        )
        if not named or not named <= set(defect.lines):
            return defect.symptom
    return ""


def _found(**wrong: Any) -> dict[str, Any]:
    """The right lines but for some symptoms."""
    return {defect.symptom: defect.lines[0] for defect in DEFECTS} | wrong


REVIEW = Check(
    id="13-review",
    title="the line behind each symptom",
    points=4,
    minutes=15,
    difficulty=4,
    draw=lambda seed: (),
    observe=_observe_review,
    reference=_found(),
    misconceptions=(
        *(
            Misconception(
                f"another line for '{defect.symptom}'",
                _found(**{defect.symptom: 44}),
                f"All symptoms above '{defect.symptom}' are right. {defect.hint}",
            )
            for defect in DEFECTS
        ),
        Misconception(
            "an entry still open",
            _found(**{DEFECTS[-1].symptom: None}),
            "All entries above the first open one are right: go on with that one.",
        ),
        Misconception(
            "no dictionary",
            [defect.lines[0] for defect in DEFECTS],
            "Keep the dictionary as it was given, from symptom to line number, and fill in the numbers.",
        ),
    ),
    hints=(
        "Read the symptom, ask which quantity it is about, and find the line that makes this quantity.",
        "The list follows no order. Sections 1 to 6 and the opening cells mend ten of the fourteen: compare"
        " line by line with what you wrote there.",
        "'The loss is a hundred times too small' would be the line with reduction='mean', not the one that"
        " prints the loss.",
    ),
)
