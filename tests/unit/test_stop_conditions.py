from hypothesis import given
from hypothesis import strategies as st

from charloom.inference.generation_options import Ending
from charloom.inference.stop_conditions import StopMatcher

stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3).map(tuple)


def expected(text, stop, max_lines):
    """The definition, character by character: the first stop sequence to be completed, or an earlier last line end."""
    lines = 0
    for end in range(1, len(text) + 1):
        complete = [string for string in stop if text[:end].endswith(string)]
        if complete:
            before = text[: end - max(map(len, complete))]
            break
    else:
        before, complete = text, []
    for position, character in enumerate(before):
        lines += character == "\n"
        if lines == max_lines:
            return text[:position], True
    return before, bool(complete)


@given(st.text("ab\n", max_size=30), stops, st.none() | st.integers(1, 4), st.lists(st.integers(1, 5)))
def test_the_end_of_a_text_does_not_depend_on_the_pieces(text, stop, max_lines, sizes):
    matcher, shown, stopped, position = StopMatcher(Ending(stop, max_lines)), "", False, 0
    for size in [*sizes, len(text) + 1]:
        piece = text[position : position + size]
        position += size
        part, stopped = matcher.take(piece, at_end=position >= len(text))
        shown += part
        if stopped or position >= len(text):
            break
    assert (shown, stopped) == expected(text, stop, max_lines)


def test_a_possible_stop_sequence_is_withheld_until_it_is_excluded():
    matcher = StopMatcher(Ending(("\n\n",)))
    assert matcher.take("one\n") == ("one", False)
    assert matcher.take("two\n") == ("\ntwo", False)
    assert matcher.take("\nthree") == ("", True)


def test_withheld_characters_are_returned_at_the_end():
    assert StopMatcher(Ending(("end.",))).take("the end", at_end=True) == ("the end", False)
