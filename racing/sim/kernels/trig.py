"""Sine, cosine and arctangent as polynomials: a few nanoseconds inside a kernel, and the same bits on every libm.

Branch-free, because tyre slips are unpredictable and for Lanes (racing.sim.kernels.lanes). Absolute error below 3e-7.
Coefficients: Cephes single-precision library (S. Moshier) for sine and cosine to pi/4; Abramowitz and Stegun 4.3.97
(sine to pi/2) and 4.4.49 (arctangent).
The linear models call `math` instead, because they are held against published vectors in float64.
"""

from __future__ import annotations

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.lanes import floor, where

TWO_OVER_PI = real(0.6366197723675814)
HALF_PI = real(1.5707963267948966)
HALF_PI_HIGH = real(1.5703125)  # exact in float32; HALF_PI = HIGH + LOW keeps the reduced angle accurate
HALF_PI_LOW = real(1.5707963267948966 - 1.5703125)
PI = real(3.141592653589793)
TWO_PI = real(6.283185307179586)
ZERO, QUARTER, HALF, ONE, TWO, THREE, FOUR = real(0), real(0.25), real(0.5), real(1), real(2), real(3), real(4)
S1, S2, S3 = real(-1.6666654611e-1), real(8.3321608736e-3), real(-1.9515295891e-4)
C1, C2, C3 = real(4.166664568298827e-2), real(-1.388731625493765e-3), real(2.443315711809948e-5)
A1, A2, A3, A4 = real(-0.3333314528), real(0.1999355085), real(-0.1420889944), real(0.1065626393)
A5, A6, A7, A8 = real(-0.0752896400), real(0.0429096138), real(-0.0161657367), real(0.0028662257)
P1, P2, P3, P4 = real(-0.1666666664), real(0.0083333315), real(-0.0001984090), real(0.0000027526)
P5 = real(-0.0000000239)


@inlined
def sincos(angle):
    """(sin, cos) of an angle [rad], |angle| < 1e4."""
    turns = floor(angle * TWO_OVER_PI + HALF)
    quadrant = turns - FOUR * floor(turns * QUARTER)  # 0, 1, 2 or 3
    r = (angle - turns * HALF_PI_HIGH) - turns * HALF_PI_LOW
    s, c = sincos_small(r)
    odd = (quadrant == ONE) | (quadrant == THREE)
    first, second = where(odd, c, s), where(odd, s, c)
    return where(quadrant >= TWO, -first, first), where((quadrant == ONE) | (quadrant == TWO), -second, second)


@inlined
def sincos_small(angle):
    """(sin, cos) of an angle [rad] in [-pi/4, pi/4]; to 1e-4 up to 1."""
    z = angle * angle
    s = angle + angle * z * (S1 + z * (S2 + z * S3))
    c = ONE - HALF * z + z * z * (C1 + z * (C2 + z * C3))
    return s, c


@inlined
def arctan_unit(t):
    """Arctangent [rad] of t in [0, 1]; Estrin's scheme, as the kernels wait for results rather than for arithmetic."""
    z = t * t
    z2 = z * z
    low = (A1 + z * A2) + z2 * (A3 + z * A4)
    high = (A5 + z * A6) + z2 * (A7 + z * A8)
    return t + t * z * (low + z2 * z2 * high)


@kernel
def arctan(x):
    """Arctangent [rad] of any finite x."""
    a = abs(x)
    large = a > ONE
    t = ONE / a if large else a
    value = arctan_unit(t)
    value = HALF_PI - value if large else value
    return value if x >= ZERO else -value


@inlined
def sine(angle):
    """Sine of an angle [rad] in [-pi, pi]."""
    x = HALF_PI - abs(HALF_PI - abs(angle))  # fold to [0, pi/2]
    z = x * x
    z2 = z * z
    s = x + x * z * ((P1 + z * P2) + z2 * ((P3 + z * P4) + z2 * P5))
    return where(angle >= ZERO, s, -s)


@kernel
def wrap(angle):
    """The same angle in [-pi, pi] [rad]."""
    return angle - TWO_PI * real(round(angle / TWO_PI))
