"""What a training is expected to reach: how hard the text is for n-grams, times what training makes of that.

The ratio of the two losses was measured on texts in several languages; docs/decisions.md has the figures.
"""

import math

_RATIO = 0.83  # of the held-out loss to that of n-grams, after so many characters
_READ = 4.5e6
_FALLS = 0.03  # by this much with every doubling of what is read
_HIGHEST, _LOWEST = 1.0, 0.79
_EITHER_WAY = 0.1  # the range, as a share of the middle


def expected_bits(ngrams: float, read: float) -> tuple[float, float]:
    """Return between which bits per character the held-out loss will probably end.

    Args:
        ngrams: The loss of n-grams on the same text, in nats per character.
        read: Characters that the training reads, those it reads again among them; above 0.
    """
    ratio = _RATIO - _FALLS * math.log2(read / _READ)
    middle = ngrams * min(max(ratio, _LOWEST), _HIGHEST) / math.log(2)
    return middle * (1 - _EITHER_WAY), middle * (1 + _EITHER_WAY)
