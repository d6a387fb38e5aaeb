from hypothesis import given
from hypothesis import strategies as st

from charloom.inference.generation_options import Ending
from charloom.inference.stop_conditions import StopMatcher

stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3).map(tuple)


def expected(text, stop, max_lines):
    """The definition, one character at a time: the first string to become complete, or the line feed before it."""
    lines = 0
    for end in range(1, len(text) + 1):
        complete = [string for string in stop if text[:end].endswith(string)]
        if complete:
            before = text[: end - max(map(len, complete))]
            break
    else:
        before, complete = text, []
    for place, character in enumerate(before):
        lines += character == "\n"
        if lines == max_lines:
            return text[:place], True
    return before, bool(complete)


@given(st.text("ab\n", max_size=30), stops, st.none() | st.integers(1, 4), st.lists(st.integers(1, 5)))
def test_a_text_ends_where_it_should_however_it_comes(text, stop, max_lines, sizes):
    ender, shown, stopped, place = StopMatcher(Ending(stop, max_lines)), "", False, 0
    for size in [*sizes, len(text) + 1]:
        piece = text[place : place + size]
        place += size
        part, stopped = ender.take(piece, at_end=place >= len(text))
        shown += part
        if stopped or place >= len(text):
            break
    assert (shown, stopped) == expected(text, stop, max_lines)


def test_what_may_be_a_stop_string_is_held_back_until_it_is_not():
    ender = StopMatcher(Ending(("\n\n",)))
    assert ender.take("one\n") == ("one", False)
    assert ender.take("two\n") == ("\ntwo", False)
    assert ender.take("\nthree") == ("", True)


def test_what_is_held_back_comes_at_the_end():
    assert StopMatcher(Ending(("end.",))).take("the end", at_end=True) == ("the end", False)
