"""Tables as text, HTML and Markdown."""

from __future__ import annotations

import pytest

from labkit.bench import Interval
from labkit.views import Table


@pytest.fixture
def table() -> Table:
    rows = [["a <teacher>", Interval(0.95, 0.01), 12], ["b | c", "n & m", 3.5]]
    return Table(["network", "accuracy, %", "MACs"], rows, caption="A > B", note="made by <me>")


def test_text_is_aligned(table: Table):
    assert str(table).splitlines() == [
        "A > B",
        "network      accuracy, %  MACs",
        "-----------  -----------  ----",
        "a <teacher>   95.0 ± 1.0    12",
        "b | c              n & m   3.5",
        "made by <me>",
    ]
    assert repr(table) == str(table)


def test_html_is_escaped_and_complete(table: Table):
    html = table._repr_html_()
    for part in ("a &lt;teacher&gt;", "n &amp; m", "A &gt; B", "made by &lt;me&gt;", "95.0 ± 1.0"):
        assert part in html
    assert html.count("<tr>") == html.count("</tr>") == 3
    assert html.count("<td") == 6
    assert html.count("<th ") == 3


def test_markdown_keeps_its_columns(table: Table):
    lines = table.markdown().splitlines()
    assert lines[0] == "| network | accuracy, % | MACs |"
    assert lines[1] == "| --- | ---: | ---: |"
    assert lines[3] == r"| b \| c | n & m | 3.5 |"


def test_without_rows_caption_and_note():
    bare = Table(["a", "b"], [])
    assert str(bare).splitlines() == ["a  b", "-  -"]
    assert "<caption" not in bare._repr_html_()


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="Every row needs 2 cells"):
        Table(["a", "b"], [["x"]])
