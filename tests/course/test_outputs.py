"""Outputs of two executions agree: what random ids, clocks and machines leave behind is taken out."""

from __future__ import annotations

import pytest
from nbformat import v4

from labkit.course.outputs import normalise
from labkit.errors import LabkitError

WIDGET = "application/vnd.jupyter.widget-view+json"


def run(*outputs):
    cell = v4.new_code_cell("x", outputs=list(outputs), execution_count=7)
    cell.metadata.execution = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("t"), cell])
    notebook.metadata.widgets = {"state": 1}
    normalise(notebook)
    assert "widgets" not in notebook.metadata
    assert "execution" not in cell.metadata
    assert cell.execution_count == 1
    return cell.outputs


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def data(**mimes):
    return v4.new_output("display_data", {name.replace("_", "/"): value for name, value in mimes.items()})


def test_standard_error_goes_and_standard_output_stays():
    assert [o.text for o in run(stream("warning", "stderr"), stream("a\nb\n"))] == ["a\nb\n"]


def test_progress_bars_go():
    bar = data(text_plain=" 40%|####      | 4/10 [00:01<00:02]")
    bar.data[WIDGET] = {"model_id": "abc"}
    assert run(bar, stream("\r 10%\r100%\rdone\n"))[0].text == "done\n"
    assert run(stream("\r \r")) == []


def test_widgets_become_text():
    slider = data(text_plain="FloatSlider(value=1.0)", text_html="x")
    slider.data[WIDGET] = {"model_id": "abc", "version_major": 2}
    (output,) = run(slider)
    assert dict(output.data) == {"text/plain": "An interactive figure: run the notebook to use it."}


def test_results_are_renumbered_and_pictures_kept():
    picture = data(text_plain="<Figure size 640x480 with 1 Axes>")
    picture.data["image/png"] = "aGVsbG8="
    result = v4.new_output("execute_result", {"text/plain": "3"}, execution_count=9)
    kept, numbered = run(picture, result)
    assert kept.data["image/png"] == "aGVsbG8="
    assert numbered.execution_count == 1


@pytest.mark.parametrize(
    "output",
    [stream("see <object at 0x7f12ab34cd56>"), data(text_plain="ok", text_html="<p>at 0x7F12AB34CD56</p>")],
)
def test_memory_addresses_are_refused(output):
    with pytest.raises(LabkitError, match="shows a memory address"):
        run(output)


def test_short_hexadecimal_numbers_are_fine():
    assert run(stream("mask 0xff"))
