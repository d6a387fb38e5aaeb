"""Quantize weights to int8 with one scale per row, and back.

Scales are rounded to 16 significant bits, so that the product of a scale and an int8 value is exact in float32. As a
result, quantizing dequantized weights returns the same values, and an int8 engine generates the same text from an int8
model file as from the float32 file it was converted from.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_INT8 = 127
_SCALE_BITS = 16


@dataclass(frozen=True)
class Quantized:
    """A quantized matrix, in which each weight is an int8 value times the scale of its row.

    Attributes:
        values: int8 (R, K), each in [-127, 127].
        scales: float32 (R,), each at least 0; 0 for a row of zeros.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize(weights: NDArray[np.float32]) -> Quantized:
    """Quantize a matrix to int8; the weight of largest magnitude in each row becomes 127 or -127.

    Args:
        weights: Finite weights (R, K).
    """
    scales = _round_up(np.abs(weights).max(axis=1).astype(np.float64) / MAX_INT8)
    # a float64 quotient of two float32 numbers rounds to the same integer as the exact quotient
    quotients = weights / np.where(scales > 0, scales, 1.0)[:, None]
    return Quantized(np.rint(quotients).astype(np.int8), scales.astype(np.float32))


def dequantize(quantized: Quantized) -> NDArray[np.float32]:
    """Return the weights (R, K): the exact products of the int8 values and the scales."""
    return quantized.values * quantized.scales[:, None]


def _round_up(scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round scales up to 16 significant bits; scales below 2**-100 become 0."""
    mantissas, exponents = np.frexp(scales)
    rounded = np.ldexp(np.ceil(np.ldexp(mantissas, _SCALE_BITS)), exponents - _SCALE_BITS)
    return np.where(rounded < 2.0**-100, 0.0, rounded)
