"""Draws the diagrams of the documentation: ``python doc/diagrams.py``.

They are SVG files in ``doc/_static``, kept in the repository. Pages include them as they
are, and not as images, so that their colours are those of the page, light or dark.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "_static"

# The theme's colours; else, for a file that is looked at by itself, some like them.
STYLE = """
.diagram { font: 14px system-ui, sans-serif; display: block; }
.diagram text { fill: var(--pst-color-text-base, #323232); }
.diagram .muted { fill: var(--pst-color-text-muted, #5a6570); font-size: 13px; }
.diagram .code { font: 12px ui-monospace, monospace; }
.diagram .strong { font-weight: 600; }
.diagram .box { fill: var(--pst-color-surface, #f3f4f5);
  stroke: var(--pst-color-border, #c9c9c9); }
.diagram .question { stroke: var(--pst-color-primary, #0a7d91); stroke-width: 1.5; }
.diagram .error { stroke: var(--pst-color-danger, #d72d47); stroke-width: 1.5; }
.diagram .lane { fill: none; stroke: var(--pst-color-border, #c9c9c9);
  stroke-dasharray: 3 4; }
.diagram .line { fill: none; stroke: var(--pst-color-text-muted, #5a6570);
  stroke-width: 1.5; }
.diagram .tip { fill: var(--pst-color-text-muted, #5a6570); }
.diagram .number { fill: var(--pst-color-primary, #0a7d91); }
.diagram .digit { fill: var(--pst-color-on-primary, #fff); font-size: 12px;
  font-weight: 600; text-anchor: middle; }
.diagram .middle { text-anchor: middle; }
"""


class Drawing:
    """Collects the parts of a drawing.

    Parameters
    ----------
    name : str
        Of the file; also what makes ids unique in a page with several drawings.
    width, height : int
        In units of the drawing.
    title, description : str
        For those who do not see it.
    """

    def __init__(
        self, name: str, width: int, height: int, title: str, description: str
    ) -> None:
        self.name = name
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" '
            f'viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc">',
            f'<title id="{name}-title">{escape(title)}</title>',
            f'<desc id="{name}-desc">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="6" markerHeight="6" orient="auto-start-reverse">'
            '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
        ]

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Write one line."""
        self.parts.append(
            f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        lines: list[tuple[str, str]],
        kind: str = "",
        indent: float = 12,
    ) -> None:
        """Draw a box with lines of text, each with its kind."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" '
            f'class="box {kind}"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, (words, style) in enumerate(lines):
            self.text(x + indent, top + 18 * number, words, style)

    def arrow(self, path: str, tip: bool = True) -> None:
        """Draw a line along a path, with a tip at its end."""
        end = f' marker-end="url(#{self.name}-tip)"' if tip else ""
        self.parts.append(f'<path class="line" d="{path}"{end}/>')

    def number(self, x: float, y: float, digit: int) -> None:
        """Draw a number in a disc."""
        self.parts.append(f'<circle class="number" cx="{x}" cy="{y}" r="10"/>')
        self.text(x, y + 4.5, str(digit), "digit")

    def save(self) -> None:
        """Write the file."""
        path = STATIC / f"{self.name}.svg"
        path.write_text("\n".join([*self.parts, "</svg>", ""]), encoding="utf-8")


def negotiation() -> None:
    """Which backend serves a call."""
    drawing = Drawing(
        "negotiation",
        760,
        612,
        "Which backend serves a call",
        "Four questions, asked in this order; the first outcome whose condition holds "
        "decides. 1: hints that are unknown or contradict each other are a ValueError. "
        "If the call names a backend, 2: a ValueError where shared memory is required "
        "and the backend has none; 3: else that backend. If the context names one, 4: "
        "threads where shared memory is required and the backend has none; 5: else the "
        "context's backend. If nobody names one, 6: threads where shared memory is "
        "required or threads are preferred; 7: processes where they are preferred and "
        "the default is threads; 8: else the default backend.",
    )
    lacking = "shared memory required, and it has none"
    questions = [
        ("Are the hints known, and", "do they agree?", "yes", "no"),
        ("Does the call name", "a backend?", "no", "yes"),
        ("Does the context name", "a backend?", "no", "yes"),
        ("Nobody names one: what", "do the hints say?", "", ""),
    ]
    outcomes = [
        [("unknown hint, or processes with sharedmem", "ValueError")],
        [(lacking, "ValueError"), ("else", "the backend that the call names")],
        [
            (lacking, "threads; n_jobs of the call, else 1"),
            ("else", "the context’s backend; prefer yields to it"),
        ],
        [
            ("shared memory required, or threads preferred", "threads"),
            ("processes preferred, default is threads", "processes (loky)"),
            ("else", "the default backend (loky)"),
        ],
    ]
    height, gap = 52, 12
    row, y, below, label = 0, 12, None, ""
    for (first, second, down, right), results in zip(questions, outcomes, strict=True):
        block = len(results) * (height + gap) - gap
        middle = y + block / 2
        if below is not None:
            drawing.arrow(f"M135 {below} V{middle - 30}")
            drawing.text(144, (below + middle - 30) / 2 + 4, label, "muted")
        lines = [(first, "strong"), (second, "strong")]
        drawing.box(16, middle - 28, 238, 56, lines, "question")
        for number, (condition, outcome) in enumerate(results):
            row += 1
            top = y + number * (height + gap)
            center = top + height / 2
            if len(results) > 1 and center != middle:
                drawing.arrow(f"M254 {middle} H310 V{center} H350")
            else:
                drawing.arrow(f"M254 {middle} H350")
            kind = "error" if outcome == "ValueError" else ""
            drawing.box(
                352,
                top,
                396,
                height,
                [(condition, "muted"), (outcome, "strong")],
                kind,
                40,
            )
            drawing.number(372, center, row)
        if right:
            drawing.text(264, middle - 7, right, "muted")
        below, label = middle + 28, down
        y += block + 28
    drawing.save()


def life_of_a_task() -> None:
    """What is called when, on whose thread."""
    drawing = Drawing(
        "life_of_a_task",
        760,
        640,
        "The life of a task, and the hooks of a backend",
        "On the caller's thread: configure and start_call; tasks are taken from the "
        "iterable into a batch, of compute_batch_size tasks; submit starts it. On the "
        "worker: wrappers run around the function; its result or error is kept. On the "
        "thread of the callback: the callback is called exactly once, "
        "batch_completed is told the time, retrieve_result_callback returns the results "
        "or raises, and the next batch is formed and submitted. Meanwhile the caller "
        "waits in retrieval_context and hands results on; at the end come "
        "stop_call and terminate, after an error abort_everything before these.",
    )
    lanes = [
        (12, "C", "the caller’s thread"),
        (266, "K", "the callback’s thread"),
        (520, "W", "a worker"),
    ]
    for x, letter, who in lanes:
        drawing.parts.append(
            f'<rect x="{x}" y="8" width="228" height="624" rx="8" class="lane"/>'
        )
        drawing.text(x + 114, 32, f"{letter}: {who}", "strong middle")
    code, plain = "code", "muted"
    left, center, right, width = 22, 276, 530, 208
    drawing.box(
        left,
        44,
        width,
        84,
        [
            ("configure()", code),
            ("wrap_task()", code),
            ("get_nested_backend()", code),
            ("start_call()", code),
        ],
    )
    drawing.arrow("M126 128 V142")
    drawing.box(
        left,
        144,
        width,
        46,
        [("iterable → batch", plain), ("compute_batch_size()", code)],
    )
    drawing.arrow("M126 190 V202")
    drawing.box(left, 204, width, 36, [("submit(batch, callback)", code)])
    drawing.arrow(f"M230 222 H{right - 2}")
    drawing.box(
        right,
        196,
        width,
        52,
        [("the backend for calls", plain), ("that the task makes", plain)],
    )
    drawing.arrow("M634 248 V266")
    drawing.box(
        right,
        268,
        width,
        52,
        [("set-up of the wrappers", plain), ("wrapper(f, …)", code)],
    )
    drawing.arrow("M634 320 V338")
    drawing.box(
        right, 340, width, 52, [("f(x)", code), ("its result or error is kept", plain)]
    )
    drawing.arrow("M634 392 V410")
    drawing.box(right, 412, width, 36, [("teardown of the wrappers", plain)])
    drawing.arrow(f"M{right} 430 H508 V298 H{center + width + 2}")
    drawing.box(
        center, 272, width, 52, [("callback(out)", code), ("exactly once", plain)]
    )
    drawing.arrow("M380 324 V342")
    drawing.box(
        center,
        344,
        width,
        52,
        [("retrieve_result_callback()", code), ("results, or raises", plain)],
    )
    drawing.arrow("M380 396 V414")
    drawing.box(
        center,
        416,
        width,
        52,
        [("the caller is told", plain), ("batch_completed()", code)],
    )
    drawing.arrow("M380 468 V486")
    drawing.box(
        center,
        488,
        width,
        52,
        [("↺ from the top: the next", plain), ("batch is submitted here", plain)],
    )
    drawing.arrow("M126 240 V270")
    drawing.box(
        left,
        272,
        width,
        196,
        [
            ("with retrieval_context():", code),
            ("\u00a0\u00a0\u00a0\u00a0wait", code),
            ("\u00a0\u00a0\u00a0\u00a0yield results", code),
            ("in order, or as done", plain),
        ],
    )
    drawing.arrow("M276 434 H232")
    drawing.arrow("M126 468 V494")
    drawing.box(
        left,
        496,
        width,
        52,
        [("abort_everything()", code), ("only if it is given up", plain)],
        "error",
    )
    drawing.arrow("M126 548 V566")
    drawing.box(left, 568, width, 52, [("stop_call()", code), ("terminate()", code)])
    drawing.text(center, 580, "Given up: an error, Ctrl-C, a", "muted")
    drawing.text(center, 598, "timeout, a generator that is", "muted")
    drawing.text(center, 616, "closed before its end.", "muted")
    drawing.save()


def loop() -> None:
    """A loop, for the gallery."""
    drawing = Drawing("loop", 400, 280, "A loop", "A loop whose turns run at once.")
    drawing.box(24, 116, 120, 48, [("for x in data", "strong")], "question")
    for number in range(4):
        top = 28 + 60 * number
        drawing.arrow(f"M144 140 H182 V{top + 22} H218")
        drawing.box(220, top, 90, 44, [(f"f(x{number})", "code")], indent=24)
        drawing.arrow(f"M310 {top + 22} H342 V140 H376")
    drawing.save()


def cluster() -> None:
    """A cluster whose tasks make calls, for the gallery."""
    drawing = Drawing(
        "cluster",
        400,
        280,
        "A cluster",
        "A search on workers, each with tasks of tasks.",
    )
    drawing.box(16, 116, 108, 48, [("a search", "strong")], "question")
    for number in range(2):
        top = 22 + 128 * number
        drawing.arrow(f"M124 140 H150 V{top + 54} H176")
        drawing.box(178, top, 206, 108, [], "")
        drawing.text(190, top + 26, "a forest", "strong")
        for tree in range(3):
            drawing.box(
                190 + 62 * tree, top + 44, 54, 48, [("tree", "muted")], "question"
            )
    drawing.save()


if __name__ == "__main__":
    loop()
    cluster()
    negotiation()
    life_of_a_task()
