"""Every check of every lab: the reference passes, every wrong answer gets its own hint. New labs join in."""

from __future__ import annotations

import itertools

import fixture_lab
import pytest
import torch

from labkit.course import calls, labs
from labkit.course.checks import PUBLIC_SEEDS, Check
from labkit.course.verdict import judge, recognise
from labkit.errors import LabkitError

HIDDEN = (3, 11, 4242)
CHECKS = [*labs.every().values()]
MISCONCEPTIONS = [(check, wrong) for check in CHECKS for wrong in check.misconceptions]
FUNCTIONS = [check for check in CHECKS if callable(check.reference) and check.observe is None]


@pytest.fixture(scope="session")
def seen() -> dict[tuple[str, int, int], calls.Seen]:
    """What known answers said, by check, answer and seed."""
    return {}


@pytest.fixture
def known_once(seen: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known answer is called once for each seed: judging n of them would call each of them n times."""
    really = calls.see

    def once(check: Check, answer: object, seed: int) -> calls.Seen:
        if not any(answer is known for _, known in _answers(check)):
            return really(check, answer, seed)
        key = check.id, id(answer), seed
        if key not in seen:
            seen[key] = really(check, answer, seed)
        return seen[key]

    monkeypatch.setattr(calls, "see", once)


def _answers(check: Check) -> list[tuple[str, object]]:
    return [("the reference", check.reference), *((m.name, m.answer) for m in check.misconceptions)]


def _drawn(check: Check, seed: int) -> tuple:
    with calls.isolated(seed):
        return tuple(check.draw(seed))


def _name(value) -> str:
    return getattr(value, "id", getattr(value, "name", None))


def _one_sentence(text: str) -> bool:
    return "\n" not in text and 10 < len(text) < 500 and text[0].isupper() and text.endswith((".", "`."))


def test_fixture_is_included():
    assert all(check in CHECKS for check in fixture_lab.CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_reference_passes(check: Check):
    for seeds in (PUBLIC_SEEDS, HIDDEN):
        verdict = judge(check, check.reference, seeds)
        assert verdict.status == "passed", verdict.message


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_draws_are_deterministic_and_differ(check: Check):
    for name, answer in _answers(check):
        first, again = (calls.see(check, answer, 0) for _ in range(2))
        assert first.same(again, check), name
    if _drawn(check, 0):
        first, other = (calls.see(check, check.reference, seed) for seed in (0, 1))
        assert not first.same(other, check), "two seeds give the same value: the draws are not generic"


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_every_seed_has_a_draw(check: Check):
    assert len({len(_drawn(check, seed)) for seed in range(50)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("check", "wrong"), MISCONCEPTIONS, ids=_name)
def test_misconception_fails_with_its_own_hint(check: Check, wrong, known_once):
    for seeds in (PUBLIC_SEEDS, HIDDEN):
        verdict = judge(check, wrong.answer, seeds)
        assert (verdict.status, verdict.misconception, verdict.hint) == ("failed", wrong.name, wrong.hint)
        assert _one_sentence(verdict.message), verdict.message


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_no_two_answers_are_confused(check: Check, known_once):
    for (name, answer), (other, wrong) in itertools.combinations(_answers(check), 2):
        pairs = [(calls.see(check, answer, s), calls.see(check, wrong, s)) for s in PUBLIC_SEEDS]
        assert any(not a.same(b, check) for a, b in pairs), f"'{name}' and '{other}' give the same values"


@pytest.mark.parametrize("check", [c for c in CHECKS if callable(c.reference)], ids=_name)
def test_stub_says_not_yet(check: Check, known_once):
    def stub(*args, **kwargs):
        raise NotImplementedError(f"TODO {check.id}: {check.title}. Look at section 1.")

    verdict = judge(check, stub)
    assert verdict.status == "not yet"
    assert verdict.message == "Not started: " + f"{check.title}. Look at section 1."


@pytest.mark.parametrize("check", [c for c in CHECKS if callable(c.reference)], ids=_name)
def test_raising_answer_names_the_error_and_the_line(check: Check, known_once):
    def broken(*args, **kwargs):
        raise KeyError("a very particular mistake")

    verdict = judge(check, broken)
    assert verdict.status == "failed"
    assert "KeyError: 'a very particular mistake'" in verdict.message
    assert 'raise KeyError("a very particular mistake")' in verdict.message
    assert _one_sentence(verdict.message)


@pytest.mark.parametrize("check", [c for c in CHECKS if not callable(c.reference)], ids=_name)
def test_open_value_says_not_yet(check: Check):
    assert judge(check, None).status == "not yet"
    assert judge(check, lambda: None).status == "failed"


def _map(value, change):
    """Apply `change` to every floating tensor; None if there is none."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return change(value)
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_map(item, change) for item in value) if type(value) in (tuple, list) else value
    return value


MANGLES = {
    "shape": (lambda t: torch.stack([t, t]), "has shape"),
    "dtype": (lambda t: t.double() if t.dtype != torch.float64 else t.float(), "has dtype"),
    "nan": (lambda t: t * float("nan"), "NaN"),
}


@pytest.mark.parametrize("fault", MANGLES)
@pytest.mark.parametrize("check", FUNCTIONS, ids=_name)
def test_wrong_form_gives_one_sentence(check: Check, fault: str, known_once):
    change, word = MANGLES[fault]
    value = calls.see(check, check.reference, 0).value
    if not any(isinstance(x, torch.Tensor) and x.is_floating_point() for x in _flat(value)):
        pytest.skip("no floating tensor in the result")
    verdict = judge(check, lambda *args: _map(check.reference(*args), change))
    assert verdict.status == "failed"
    assert verdict.misconception or word in verdict.message
    assert _one_sentence(verdict.message), verdict.message


@pytest.mark.parametrize("check", [c for c in FUNCTIONS if c.differentiable], ids=_name)
def test_detached_result_is_noticed(check: Check, known_once):
    verdict = judge(check, lambda *args: _map(check.reference(*args), torch.Tensor.detach))
    assert verdict.status == "failed"
    assert verdict.misconception or "no gradient" in verdict.message
    assert _one_sentence(verdict.message)


@pytest.mark.parametrize("check", [c for c in CHECKS if callable(c.reference)], ids=_name)
def test_no_answer_and_a_number_are_refused_in_words(check: Check, known_once):
    assert judge(check, None).status == "not yet"
    verdict = judge(check, 3.0)
    assert verdict.status == "failed"
    assert _one_sentence(verdict.message)


def test_ids_are_known_to_the_registry_and_others_are_not():
    for check in CHECKS:
        assert labs.get(check.id) is check
    with pytest.raises(LabkitError, match="Did you mean '99-soften'"):
        labs.get("99-softne")


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_reference_is_no_misconception(check: Check):
    got = [calls.see(check, check.reference, seed) for seed in PUBLIC_SEEDS]
    assert recognise(check, got, PUBLIC_SEEDS) is None


def _flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]
