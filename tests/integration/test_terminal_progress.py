"""What a person sees, on a terminal that is really there: a pseudo-terminal, read by a terminal emulator."""

import io
import os
import sys
from pathlib import Path

import pytest

from charloom.terminal.messages import clock

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


def seen(arguments, columns=100, rows=40):
    """Run charloom on a terminal; return the screens that were seen and the last one."""
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


def test_the_live_view_shows_bar_figures_and_a_sample_and_ends_in_plain_words(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    Path("book.txt").write_text(text)
    screens, code = seen(["train", "book.txt", "--steps", "400", "--set", "hidden_size=32", "--set", "batch_size=8"])
    assert code == 0
    running = [s for s in screens if "/400 steps" in s and "written at step" in s]
    assert running, screens[-1]
    for part in ("epoch", "chars/s", "bits/char", "held out", "best", "left", "━"):
        assert part in running[-1]
    final = screens[-1]
    assert "Done after 400 steps" in final and "charloom generate runs/book" in final
    assert final.count("/400 steps") == 1  # the view was redrawn in its place, not printed again and again


def test_a_sample_is_shown_as_it_was_written_and_a_view_nobody_sees_ends_nothing():
    from charloom.terminal.training_view import RaisingConsole, _FaultTolerantView, _LineView
    from charloom.training.events import SampleRecord

    out = io.StringIO()
    view = _FaultTolerantView(_LineView(RaisingConsole(file=out, highlight=False, markup=False, emoji=False)))
    view.show(SampleRecord(1, "KING:smile: [bold]"))
    assert "KING:smile: [bold]" in out.getvalue()
    out.write = lambda _: (_ for _ in ()).throw(BrokenPipeError())
    view.show(SampleRecord(2, "unseen"))
    view.show(SampleRecord(3, "unseen"))


def test_a_narrow_terminal_is_enough(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(text)
    screens, code = seen(["train", "book.txt", "--steps", "40", "--set", "hidden_size=16"], columns=40, rows=16)
    assert code == 0 and "charloom generate" in screens[-1].replace("\n", " ")


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_times_are_shown_as_on_a_clock(seconds, shown):
    assert clock(seconds) == shown
