"""A suffix automaton: find the longest common substrings of two texts in linear time.

Source: Blumer et al. 1985, "The smallest automaton recognizing the subwords of a text".
``native/automaton/suffix_automaton.cpp`` is the compiled version.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.native import engine as compiled

CodePoints = NDArray[np.uint32]


class Automaton(Protocol):
    """Finds, for each place of a text, the longest run up to there that stands in what it reads."""

    def read(self, symbols: CodePoints) -> None:
        """Follow another text (N,), from where the last call left it; it is not kept."""
        ...

    def restart(self) -> None:
        """Begin another text: what is read next does not go on from what was."""
        ...

    def lengths(self) -> NDArray[np.int32]:
        """Return for each symbol how many up to it, it among them, stand together in what was read, (T,)."""
        ...


def make_automaton(symbols: CodePoints) -> Automaton:
    """Return the automaton of a text (T,): compiled, where that is installed."""
    return SuffixAutomaton(symbols) if compiled is None else compiled.SuffixAutomaton(symbols)


class SuffixAutomaton:
    """The readable one; see ``Automaton``.

    A state stands for substrings that end at the same places; its length is that of the longest, and its link leads to
    the state of the longest suffix that ends at more places.

    Args:
        symbols: The text, (T,).
    """

    def __init__(self, symbols: CodePoints) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        self._ends: list[int] = []
        last = 0
        for symbol in symbols.tolist():
            last = self._extend(last, symbol)
            self._ends.append(last)
        self._matched = [0] * len(self._next)
        self._state = self._run = 0

    def read(self, symbols: CodePoints) -> None:
        """Follow another text."""
        following, link, length, matched = self._next, self._link, self._length, self._matched
        state, run = self._state, self._run
        for symbol in symbols.tolist():
            while state and symbol not in following[state]:
                state = link[state]
                run = length[state]
            if symbol in following[state]:
                state = following[state][symbol]
                run += 1
                if run > matched[state]:
                    matched[state] = run
        self._state, self._run = state, run

    def restart(self) -> None:
        """Begin another text."""
        self._state = self._run = 0

    def lengths(self) -> NDArray[np.int32]:
        """Return the length of the longest run up to each symbol."""
        longest = list(self._matched)
        order = sorted(range(len(longest)), key=self._length.__getitem__)
        for state in reversed(order):  # who matched a state matched all that its suffixes stand for
            if longest[state] and self._link[state] > 0:
                longest[self._link[state]] = self._length[self._link[state]]
        for state in order:
            if not longest[state] and self._link[state] > 0:
                longest[state] = longest[self._link[state]]
        return np.array([longest[state] for state in self._ends], np.int32)

    def _extend(self, last: int, symbol: int) -> int:
        made = self._add(self._length[last] + 1, {})
        state = last
        while state >= 0 and symbol not in self._next[state]:
            self._next[state][symbol] = made
            state = self._link[state]
        if state < 0:
            self._link[made] = 0
            return made
        there = self._next[state][symbol]
        if self._length[there] == self._length[state] + 1:
            self._link[made] = there
            return made
        copy = self._add(self._length[state] + 1, self._next[there])
        self._link[copy] = self._link[there]
        while state >= 0 and self._next[state].get(symbol) == there:
            self._next[state][symbol] = copy
            state = self._link[state]
        self._link[there] = self._link[made] = copy
        return made

    def _add(self, length: int, following: dict[int, int]) -> int:
        self._next.append(dict(following))
        self._link.append(-1)
        self._length.append(length)
        return len(self._next) - 1
