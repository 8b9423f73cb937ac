"""Response losses against slow references written from the formulas, their limits, and unusual input."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.losses import hinton_kd, kd_objective, logit_mse, neighborhood_relation

# T small but not 1, weight neither .5 nor 0 or 1, B and C different and above 1: then a wrong T², swapped
# arguments, a swapped weight or another reduction each change the value.
T, WEIGHT, B, C = 2.0, 0.3, 5, 7


def logits(seed: int, b: int = B, c: int = C) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(b, c, dtype=torch.float64, generator=generator)


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in row]
    return [p / sum(powers) for p in powers]


def slow_kd(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax(s, temperature), softmax(t, temperature)
        total += sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def slow_ce(student: Tensor, labels: Tensor) -> float:
    rows = zip(student.tolist(), labels.tolist(), strict=True)
    return -sum(math.log(softmax(s, 1.0)[y]) for s, y in rows) / len(student)


def slow_gradient(loss, student: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences."""
    gradient = torch.zeros_like(student)
    for i in range(student.numel()):
        change = torch.zeros_like(student).view(-1)
        change[i] = step
        change = change.view_as(student)
        gradient.view(-1)[i] = (loss(student + change) - loss(student - change)) / (2 * step)
    return gradient


def close(a: float, b: float, tolerance: float = 1e-12) -> bool:
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


@pytest.mark.parametrize("temperature", [0.5, 1.0, T, 20.0])
def test_hinton_kd_equals_the_formula(temperature: float):
    student, teacher = logits(0), logits(1)
    assert close(hinton_kd(student, teacher, temperature).item(), slow_kd(student, teacher, temperature))


def test_kd_objective_equals_the_formula():
    student, teacher, labels = logits(0), logits(1), torch.tensor([0, 6, 3, 3, 1])
    wanted = WEIGHT * slow_ce(student, labels) + (1 - WEIGHT) * slow_kd(student, teacher, T)
    assert close(kd_objective(student, teacher, labels, T, WEIGHT).item(), wanted)


def test_logit_mse_equals_the_formula():
    student, teacher = logits(0), logits(1)
    wanted = sum(float(s - t) ** 2 for s, t in zip(student.view(-1), teacher.view(-1), strict=True)) / (B * C)
    assert close(logit_mse(student, teacher).item(), wanted)


def test_defaults_are_those_of_the_public_names():
    student, teacher, labels = logits(0), logits(1), torch.arange(B)
    assert torch.equal(hinton_kd(student, teacher), hinton_kd(student, teacher, temperature=4.0))
    assert torch.equal(
        kd_objective(student, teacher, labels),
        kd_objective(student, teacher, labels, temperature=4.0, hard_weight=0.5),
    )


LABELS = torch.tensor([0, 6, 3, 3, 1])
LOSSES = {
    "hinton_kd": lambda s, t: hinton_kd(s, t, T),
    "kd_objective": lambda s, t: kd_objective(s, t, LABELS[: len(s)] % s.shape[1], T, WEIGHT),
    "logit_mse": logit_mse,
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
def test_gradient_reaches_the_student_alone(loss):
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    wanted = slow_gradient(lambda s: loss(s, teacher).item(), student.detach())
    assert torch.allclose(student.grad, wanted, atol=1e-7)
    assert student.grad.abs().min() > 0
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), (logits(0).requires_grad_(),))


def test_gradient_of_hinton_kd_is_the_difference_of_the_softened_probabilities():
    student, teacher = logits(0).requires_grad_(), logits(1)
    hinton_kd(student, teacher, T).backward()
    wanted = T * ((student / T).softmax(1) - (teacher / T).softmax(1)) / B
    assert torch.allclose(student.grad, wanted, atol=1e-12)


def test_zero_exactly_where_rows_agree_up_to_a_constant():
    z, shift = logits(0), torch.arange(B, dtype=torch.float64)[:, None]
    assert hinton_kd(z, z, T).abs().item() < 1e-14
    assert hinton_kd(z + shift, z, T).abs().item() < 1e-14
    assert logit_mse(z, z).item() == 0
    assert logit_mse(z + 1, z).item() == pytest.approx(1)
    assert hinton_kd(z, logits(1), T).item() > 0.1
    assert close(hinton_kd(z + shift, logits(1) - shift, T).item(), hinton_kd(z, logits(1), T).item())


def test_high_temperature_limit_is_the_regression_of_centred_logits():
    student, teacher = logits(0), logits(1)
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = difference.square().sum(1).mean() / (2 * C)
    assert hinton_kd(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


@every_loss
def test_duplicated_batch_changes_nothing(loss):
    student, teacher = logits(0, b=2), logits(1, b=2)
    twice = LOSSES["hinton_kd"] if loss is LOSSES["kd_objective"] else loss  # its labels go by position
    assert close(twice(student.repeat(3, 1), teacher.repeat(3, 1)).item(), twice(student, teacher).item())


@every_loss
@pytest.mark.parametrize(("b", "c"), [(1, 2), (1, 7), (5, 2)])
def test_smallest_sizes(loss, b: int, c: int):
    value = loss(logits(0, b, c), logits(1, b, c))
    assert value.shape == ()
    assert value.isfinite()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(loss, dtype: torch.dtype):
    student, teacher = logits(0).to(dtype).requires_grad_(), logits(1).to(dtype)
    value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(student.double(), teacher.double()).item(), rel=1e-5)
    value.backward()
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_extreme_logits_stay_finite(loss, dtype: torch.dtype):
    student = torch.tensor([[1e4, -1e4, 0], [0, 0, 0], [-1e4, -1e4, 1e4]], dtype=dtype, requires_grad=True)
    value = loss(student, -student.detach())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@every_loss
def test_shapes_that_disagree_are_both_named(loss):
    with pytest.raises(ValueError, match=r"\(5, 7\) and \(5, 6\)"):
        loss(logits(0), logits(1, c=6))
    with pytest.raises(ValueError, match=r"\(5, 7\) and \(4, 7\)"):
        loss(logits(0), logits(1, b=4))


@pytest.mark.parametrize("loss", [hinton_kd, logit_mse])
def test_other_than_two_axes_are_refused(loss):
    for shape in ((7,), (2, 3, 4), ()):
        with pytest.raises(ValueError, match="2-d"):
            loss(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4,), (5, 1), (5, 7), ()])
def test_labels_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"labels must be \(B,\).*\(5, 7\)"):
        kd_objective(logits(0), logits(1), torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float):
    for call in (
        lambda: hinton_kd(logits(0), logits(1), temperature),
        lambda: kd_objective(logits(0), logits(1), LABELS, temperature),
    ):
        with pytest.raises(ValueError, match="temperature must be greater than 0"):
            call()


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_hard_weight_is_a_share(weight: float):
    with pytest.raises(ValueError, match=r"hard_weight must be in \[0, 1\]"):
        kd_objective(logits(0), logits(1), LABELS, hard_weight=weight)


def test_hard_weight_at_its_ends_is_one_term_alone():
    student, teacher = logits(0), logits(1)
    assert close(kd_objective(student, teacher, LABELS, T, 1.0).item(), slow_ce(student, LABELS))
    assert torch.equal(kd_objective(student, teacher, LABELS, T, 0.0), hinton_kd(student, teacher, T))
    rows = kd_objective(student, teacher, LABELS.flip(0), T, 0.0)
    assert torch.equal(rows, hinton_kd(student, teacher, T)), "without the hard term, labels don't matter"


MISTAKES = {
    "no T²": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s, t, T) / T**2,
    "T for T²": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s, t, T) / T,
    "swapped KL": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(t, s, T),
    "T on the student only": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s, T * t, T),
    "T on the teacher only": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(T * s, t, T),
    "swapped weight": lambda s, t, y: (1 - WEIGHT) * slow_ce(s, y) + WEIGHT * slow_kd(s, t, T),
    "mean over classes": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s, t, T) / C,
    "sum over batch": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s, t, T) * B,
    "hard term at T": lambda s, t, y: WEIGHT * slow_ce(s / T, y) + (1 - WEIGHT) * slow_kd(s, t, T),
    "softmax over the batch": lambda s, t, y: WEIGHT * slow_ce(s, y) + (1 - WEIGHT) * slow_kd(s.T, t.T, T),
    "teacher is the student": lambda s, t, y: WEIGHT * slow_ce(s, y),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_these_inputs_tell_the_common_mistakes_apart(mistake: str):
    student, teacher = logits(0), logits(1)
    right = kd_objective(student, teacher, LABELS, T, WEIGHT).item()
    assert not math.isclose(right, MISTAKES[mistake](student, teacher, LABELS), rel_tol=1e-3)


def test_rounding_takes_no_divergence_below_zero():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        z = 4 * torch.randn(6, 9, generator=generator)
        student = z.clone().requires_grad_()
        loss = hinton_kd(student, z + 3, 2.0)
        assert loss.item() >= 0
        assert neighborhood_relation(z, z).item() >= 0
        loss.backward()
        assert student.grad.isfinite().all()
    other = torch.randn(6, 9, generator=generator)  # elsewhere nothing changes
    wanted = 4 * F.kl_div((z / 2).log_softmax(1), (other / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(hinton_kd(z, other, 2.0), wanted)
