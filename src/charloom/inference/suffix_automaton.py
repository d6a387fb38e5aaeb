"""A suffix automaton, which finds the longest common substrings of two texts in linear time.

Source: Blumer et al. 1985, "The smallest automaton recognizing the subwords of a text".
``native/automaton/suffix_automaton.cpp`` is the compiled version.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.native import engine as compiled

CodePoints = NDArray[np.uint32]


class Automaton(Protocol):
    """Finds, for each position of a text, the longest substring ending there that also occurs in a source.

    The source is passed to ``read`` in pieces and is not stored.
    """

    def read(self, symbols: CodePoints) -> None:
        """Process the next piece of the source, (N,); matches may span pieces."""
        ...

    def restart(self) -> None:
        """Start a new source text: no match spans the previous piece and the next one."""
        ...

    def lengths(self) -> NDArray[np.int32]:
        """Return the length of the longest match that ends at each symbol of the text, (T,)."""
        ...


def make_automaton(symbols: CodePoints) -> Automaton:
    """Build the automaton of a text (T,): the compiled one if it is installed, else the Python one."""
    return SuffixAutomaton(symbols) if compiled is None else compiled.SuffixAutomaton(symbols)


class SuffixAutomaton:
    """The Python implementation of ``Automaton``.

    A state represents all substrings that have the same set of end positions. Its length is the length of the longest
    of them. Its suffix link points to the state of the longest suffix with a larger set of end positions.

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
        """Process the next piece of the source."""
        transitions, link, length, matched = self._next, self._link, self._length, self._matched
        state, run = self._state, self._run
        for symbol in symbols.tolist():
            while state and symbol not in transitions[state]:
                state = link[state]
                run = length[state]
            if symbol in transitions[state]:
                state = transitions[state][symbol]
                run += 1
                if run > matched[state]:
                    matched[state] = run
        self._state, self._run = state, run

    def restart(self) -> None:
        """Start a new source text."""
        self._state = self._run = 0

    def lengths(self) -> NDArray[np.int32]:
        """Return the length of the longest match that ends at each symbol."""
        longest = list(self._matched)
        order = sorted(range(len(longest)), key=self._length.__getitem__)
        for state in reversed(order):  # a match of a state matches all its suffixes in full
            if longest[state] and self._link[state] > 0:
                longest[self._link[state]] = self._length[self._link[state]]
        for state in order:
            if not longest[state] and self._link[state] > 0:
                longest[state] = longest[self._link[state]]
        return np.array([longest[state] for state in self._ends], np.int32)

    def _extend(self, last: int, symbol: int) -> int:
        """Append a symbol to the text; return the state of the whole text (Blumer et al., online construction)."""
        new = self._add(self._length[last] + 1, {})
        state = last
        while state >= 0 and symbol not in self._next[state]:
            self._next[state][symbol] = new
            state = self._link[state]
        if state < 0:
            self._link[new] = 0
            return new
        target = self._next[state][symbol]
        if self._length[target] == self._length[state] + 1:
            self._link[new] = target
            return new
        clone = self._add(self._length[state] + 1, self._next[target])
        self._link[clone] = self._link[target]
        while state >= 0 and self._next[state].get(symbol) == target:
            self._next[state][symbol] = clone
            state = self._link[state]
        self._link[target] = self._link[new] = clone
        return new

    def _add(self, length: int, transitions: dict[int, int]) -> int:
        self._next.append(dict(transitions))
        self._link.append(-1)
        self._length.append(length)
        return len(self._next) - 1
