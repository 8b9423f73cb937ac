"""The fingerprint that committed weights and results belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.data.aviary import golden
from labkit.errors import LabkitError


def test_the_world_is_the_one_that_results_and_weights_belong_to() -> None:
    frozen, found = golden.shipped(), golden.fingerprint()
    if frozen["drawn_with"] != found["drawn_with"] and frozen != found | {"drawn_with": frozen["drawn_with"]}:
        pytest.skip(f"{found['drawn_with']} draws otherwise than {frozen['drawn_with']}")
    assert found["version"] == frozen["version"]
    assert found["mini"] == frozen["mini"], "the pictures changed: raise AVIARY_VERSION and redo everything"
    assert found["words"] == frozen["words"], "the words changed: raise AVIARY_VERSION and redo everything"


def test_a_changed_fingerprint_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    golden.main()
    assert golden.shipped()["version"] == golden.AVIARY_VERSION
    (tmp_path / golden.FILE).write_text("{}")
    with pytest.raises(LabkitError, match=r"labkit\.data\.aviary\.golden"):
        golden.shipped()
