"""How a result looks, in a real IPython shell and out of it."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from labkit.course.display import Result


def result(**changes) -> Result:
    fields = {
        "id": "99-soften",
        "title": "softmax",
        "status": "failed",
        "points": 0,
        "possible": 2,
        "message": "Your code raised ValueError: <b>a & b</b>; line 3 of your cell: `x < y`.",
        "hint": "h",
        "hints": ("Look at `T`.\n  indented",),
        "solution": "def f(x):\n    return x < 3",
    }
    return Result(**{**fields, **changes})


class _Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("status", ["passed", "failed", "not yet"])
def test_html_is_balanced_escaped_and_says_the_status_in_words(status):
    html = result(status=status).html()
    parser = _Balanced()
    parser.feed(html)
    assert parser.open == []
    assert "b" not in parser.seen[3:4]
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in html
    assert "<code>x &lt; y</code>" in html
    assert 'role="status"' in html
    word = {"passed": "✓ Passed", "failed": "✗ Not right yet", "not yet": "○ To do"}[status]
    assert word in html
    assert "background" not in html  # the theme's own, light or dark
    assert "color:" not in html.replace("border-color:", "")


def test_text_has_everything_without_markup():
    text = result().text()
    assert "Hint 1: Look at `T`." in text
    assert "    def f(x):" in text
    assert "<b>a & b</b>" in text


def test_lone_backtick_is_left_alone():
    assert "5 ` 3" in result(message="5 ` 3").html()


_SHELL = """
import sys
sys.path.insert(0, {fixture!r})
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import DisplayPublisher
import fixture_lab

class Publisher(DisplayPublisher):
    def publish(self, data, metadata=None, **kwargs):
        shown.append(sorted(data))

shown = []
InteractiveShell.display_pub_class.default_args = ()
shell = InteractiveShell.instance()
shell.display_pub = Publisher()
shell.kernel = object()
for cell in {cells!r}:
    shown.clear()
    done = shell.run_cell(cell, store_history=True)
    assert done.success
    print(chr(10) + "#", len(shown), shown[:1])
"""


@pytest.mark.slow
def test_shown_exactly_once_wherever_check_stands():
    cells = [
        "from labkit import check, answer; import fixture_lab as L",
        'check("99-soften", L.soften)',
        'r = check("99-soften", L.soften)',
        'check("99-soften", L.soften); x = 1',
        'check("99-soften", L.soften); check("99-bug", 4)',
        "r",
        'check("99-soften", lambda z, t: print("noise") or z)',
        'f = answer("99-soften", L.soften)',
        'f = answer("99-soften", None)',
    ]
    code = _SHELL.format(fixture=str(Path(__file__).parent / "fixture"), cells=cells)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    counts = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("#")]
    assert counts == ["0", "1", "1", "1", "2", "1", "1", "0", "1"], done.stdout
    assert "['text/html', 'text/plain']" in done.stdout
    assert "noise" not in done.stdout
