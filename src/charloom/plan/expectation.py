"""What a training is expected to reach: how hard the text is for n-grams, times what training makes of that.

The ratio of the two losses was measured on texts in several languages; docs/decisions.md has the figures.
"""

import math

_RATIO = 0.93  # of the held-out loss to that of n-grams, after so many characters
_READ = 2.3e6
_FALLS = 0.02  # by this much with every doubling of what is read, until the text has been read often enough
_RISES = 0.06  # and rises by this much with every halving
_ENOUGH_PASSES = 10
_EITHER_WAY = 0.05  # the range, as a share of the middle


def expected_bits(ngrams: float, passes: float, characters: int) -> tuple[float, float]:
    """Return between which bits per character the held-out loss will probably end.

    Args:
        ngrams: The loss of n-grams on the same text, in nats per character.
        passes: Over the training text.
        characters: Of the training text.
    """
    doublings = math.log2(min(passes, _ENOUGH_PASSES) * characters / _READ)
    ratio = _RATIO - (_FALLS if doublings > 0 else _RISES) * doublings
    middle = max(ngrams * ratio, 0.0) / math.log(2)
    return middle * (1 - _EITHER_WAY), middle * (1 + _EITHER_WAY)
