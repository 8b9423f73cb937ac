"""How the outcome of a check looks: a small box in a notebook, plain lines elsewhere.

Words and symbols carry the meaning, colour (Okabe-Ito) only repeats it; all else is the theme's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from .verdict import FAILED, NOT_YET, PASSED

_LOOK = {
    PASSED: ("✓", "Passed", "#009E73"),
    FAILED: ("✗", "Not right yet", "#D55E00"),
    NOT_YET: ("○", "To do", "#0072B2"),
}


@dataclass(frozen=True)
class Result:
    """What `labkit.check` returns; true when the check is passed.

    Attributes:
        id, title: of the check.
        status: 'passed', 'failed' or 'not yet'.
        points, possible: points earned and points there are.
        message: one sentence.
        hint: the hint for the recognised mistake, else the newest one that is open.
        misconception: name of the recognised mistake, or ''.
        hints: all general hints that are open by now.
        solution: source of the reference once it is open, or ''.
    """

    id: str
    title: str
    status: str
    points: float
    possible: float
    message: str
    hint: str = ""
    misconception: str = ""
    hints: Sequence[str] = ()
    solution: str = ""
    _shown: list[int] = field(default_factory=list, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def __repr__(self) -> str:
        return self.text()

    @property
    def _own_hint(self) -> bool:
        """Whether the hint is for this very mistake (or broken law), not one of the general ladder."""
        return bool(self.hint) and self.hint not in self.hints

    def text(self) -> str:
        """The outcome in plain lines."""
        symbol, word, _ = _LOOK[self.status]
        lines = [f"{symbol} {word}: {self.id} · {_points(self)}", f"  {self.message}"]
        if self._own_hint:
            lines.append(f"  Hint: {self.hint}")
        lines += [f"  Hint {number}: {text}" for number, text in enumerate(self.hints, start=1)]
        if self.solution:
            lines.append("  Solution:\n" + "\n".join(f"    {line}" for line in self.solution.splitlines()))
        return "\n".join(lines)

    def html(self) -> str:
        """The same as a box that follows the theme's colours."""
        symbol, word, colour = _LOOK[self.status]
        body = [f"<div>{_rich(self.message)}</div>"]
        if self._own_hint:
            body.append(f'<div style="margin-top:.4em"><b>Hint:</b> {_rich(self.hint)}</div>')
        style = "margin-top:.4em;white-space:pre-wrap"
        ladder = "".join(
            f'<div style="{style}"><b>Hint {number}:</b> {_rich(text)}</div>'
            for number, text in enumerate(self.hints, start=1)
        )
        if ladder and self._own_hint:  # the hint for this very mistake is enough; the others are a click away
            ladder = f"<details><summary>More hints</summary>{ladder}</details>"
        body.append(ladder)
        if self.solution:
            code = f'<pre style="margin:.4em 0 0">{escape(self.solution)}</pre>'
            body.append(f"<details><summary>Show a solution</summary>{code}</details>")
        head = f"<div><b>{symbol} {word}</b> · <code>{escape(self.id)}</code> · {_points(self)}</div>"
        box = (
            f"border:1px solid {colour};border-left-width:6px;padding:.4em .8em;margin:.3em 0;max-width:60em"
        )
        return f'<div role="status" style="{box}">{head}{"".join(body)}</div>'

    def _ipython_display_(self) -> None:
        """check() has shown it where it stands; a result looked at in a later cell is shown again."""
        if not self._shown or self._shown[-1] != _cell_number():
            show(self)


def show(result: Result) -> None:
    """Display a result once: rich in a notebook, printed elsewhere."""
    result._shown.append(_cell_number())
    publish(result.html(), result.text())


def publish(html: str, text: str) -> None:
    """Show a fragment of HTML in a notebook, its plain text elsewhere."""
    if _kernel() is not None:
        from IPython.display import display

        display({"text/html": html, "text/plain": text}, raw=True)
    else:
        print(text)


def note(text: str) -> None:
    """A visible remark of one sentence."""
    style = "border-left:6px solid #E69F00;padding:.2em .8em;margin:.3em 0"
    publish(f'<div role="note" style="{style}">ℹ {_rich(text)}</div>', f"ℹ {text}")


def _points(result: Result) -> str:
    return f"{result.points:g} of {result.possible:g} point{'s' if result.possible != 1 else ''}"


def _rich(text: str) -> str:
    """Escaped text in which `code` is set as code."""
    parts = escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:  # a lone backtick
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _kernel() -> object | None:
    """The IPython shell if its front end shows HTML; None in a terminal, a script or a test."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module else None
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _cell_number() -> int:
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module else None
    return shell.execution_count if shell is not None else 0
