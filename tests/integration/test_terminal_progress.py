"""The output on a terminal: a pseudo-terminal, read by a terminal emulator."""

import io
import os
import sys
from pathlib import Path

import pytest

from charloom.terminal.messages import format_duration

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


def run_on_terminal(arguments, columns=100, rows=40):
    """Run charloom on a pseudo-terminal; return the screen after each output, and the exit code."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "charloom", *arguments]
    child = pexpect.spawn(command[0], command[1:], dimensions=(rows, columns), timeout=60, env=environment)
    screens = []
    while True:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=60))
            screens.append("\n".join(line.rstrip() for line in screen.display).rstrip())
        except pexpect.EOF:
            child.close()
            return screens, child.exitstatus


def test_live_view_shows_progress_and_ends_with_a_summary(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    Path("book.txt").write_text(text)
    screens, code = run_on_terminal(
        ["train", "book.txt", "--steps", "400", "--set", "hidden_size=32", "--set", "batch_size=8"]
    )
    assert code == 0
    running = [s for s in screens if "/400 steps" in s and "sample at step" in s]
    assert running, screens[-1]
    for part in ("epoch", "chars/s", "bits/char", "held-out loss", "best", "remaining", "━"):
        assert part in running[-1]
    final = screens[-1]
    assert "Done after 400 steps" in final and "charloom generate runs/book" in final
    assert final.count("/400 steps") == 1  # the view is redrawn in place


def test_samples_are_printed_verbatim_and_a_closed_stderr_is_tolerated():
    from charloom.terminal.training_view import RaisingConsole, _FaultTolerantView, _LineView
    from charloom.training.events import SampleRecord

    out = io.StringIO()
    view = _FaultTolerantView(_LineView(RaisingConsole(file=out, highlight=False, markup=False, emoji=False)))
    view.show(SampleRecord(1, "KING:smile: [bold]"))
    assert "KING:smile: [bold]" in out.getvalue()
    out.write = lambda _: (_ for _ in ()).throw(BrokenPipeError())
    view.show(SampleRecord(2, "unseen"))
    view.show(SampleRecord(3, "unseen"))


def test_narrow_terminal(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(text)
    screens, code = run_on_terminal(
        ["train", "book.txt", "--steps", "40", "--set", "hidden_size=16"], columns=40, rows=16
    )
    assert code == 0 and "charloom generate" in screens[-1].replace("\n", " ")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59.6, "1:00 min"), (61, "1:01 min"), (3661, "1:01:01 h")]
)
def test_clock(seconds, shown):
    assert format_duration(seconds) == shown
