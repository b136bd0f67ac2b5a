#!/usr/bin/env python3
"""Fit the tables of piecewise.hpp and print tables.hpp.

    /usr/bin/python3 kernels/simd/fit_tables.py > kernels/simd/tables.hpp

Each function is cut into 32 pieces, a polynomial in the distance from the piece's centre for each. Even tables have
pieces of one width around k * width; octave tables have four pieces per power of two for eight of them, as a rule from
2^-5 to 8, and the first one reaches down to 0. The degree is the smallest whose error in exact arithmetic is below
2^-25 of the function's scale (less where the function's bound is narrow).
Needs Debian's python3-mpmath.
"""
import struct

from mpmath import erf, erfc, exp, expm1, log1p, mp, mpf, pi, sqrt, tanh

from fit_coefficients import fit, horner, rounded

mp.dps = 40
ROWS = 32


def coefficient(value):
    """As a float; what stands for zero is zero, for the CPU is slow with subnormal numbers."""
    return rounded(value, "float") if abs(value) > mpf(2) ** -80 else 0.0


def sigmoid(x):
    return 1 / (1 + exp(-x))


def gate(inner, slope):
    """x -> (sigmoid(u), sigmoid(u) + x u' sigmoid(u) sigmoid(-u), the size of its terms), u = inner(x)."""

    def derivative(x):
        s, bend = sigmoid(inner(x)), x * slope(x) * sigmoid(inner(x)) * sigmoid(-inner(x))
        return s + bend, abs(s) + abs(bend)

    return lambda x: sigmoid(inner(x)), derivative


def normal_tail(a):
    return erfc(a / sqrt(2)) / 2


def gelu_derivative(x):
    bend = x * exp(-x * x / 2) / sqrt(2 * pi)
    return normal_tail(-x) + bend, normal_tail(-x) + abs(bend)


def mish_gate(x):
    return tanh(log1p(exp(x)))


def mish_derivative(x):
    bend = x * (1 - mish_gate(x) ** 2) * sigmoid(x)
    return mish_gate(x) + bend, mish_gate(x) + abs(bend)


ROOT = sqrt(2 / pi)
CUBIC = mpf("0.044715")
silu_gate, silu_derivative = gate(lambda x: x, lambda x: 1)
tanh_gate, tanh_derivative = gate(lambda x: 2 * ROOT * (x + CUBIC * x**3), lambda x: 2 * ROOT * (1 + 3 * CUBIC * x * x))
quick_gate, quick_derivative = gate(lambda x: mpf("1.702") * x, lambda x: mpf("1.702"))


def parts(function, x):
    value = function(x)
    return value if isinstance(value, tuple) else (value, abs(value))


def pieces(function, spans, vanishes, goal=mpf(2) ** -25, first=None):
    """[(centre, coefficients)] for [(row, centre, low, high)], all of the smallest degree that reaches the goal.
    vanishes: f(x) / x^vanishes has a limit at 0, and f keeps its relative accuracy there. first: what the piece around 0
    holds instead of the function, with the size against which its error counts."""
    for degree in range(4, 10):
        rows, worst = [None] * ROWS, mpf(0)
        for row, centre, low, high in spans:
            held = first if first is not None and centre == 0 else function
            value = lambda d: parts(held, centre + d)[0]
            if vanishes and centre == 0:
                quotient = lambda d: value(d) / d**vanishes
                exact = [mpf(0)] * vanishes + fit(quotient, mpf(10) ** -6, high, degree - vanishes)
            else:
                exact = fit(value, low - centre, high - centre, degree)
            # The rest of what the function's value at the centre loses is the caller's.
            kept = [exact[0]] + [mpf(coefficient(c)) for c in exact[1:]]
            for i in range(1, 24):
                x = low + (high - low) * i / 24
                want, scale = parts(held, x)
                worst = max(worst, abs(horner(kept, x - centre) - want) / scale)
            rows[row] = (centre, [coefficient(c) for c in exact])
        if worst < goal:
            return rows, degree, worst
    raise SystemExit("no degree reaches the goal")


def print_columns(rows, degree):
    print(f"  alignas(64) static constexpr float kColumns[{degree + 1}][{ROWS}] = {{")
    for column in range(degree + 1):
        numbers = [rows[r][1][column].hex() + "f" for r in range(ROWS)]
        print("      {" + ", ".join(numbers) + "},")
    print("  };")


def even(name, what, function, width, signed=True, **goal):
    width = mpf(width)
    first = -ROWS // 2 if signed else 0
    spans = []
    for k in range(first, first + ROWS):
        low = k * width - width / 2 if signed or k > 0 else mpf(0)
        spans.append((k % ROWS, k * width, low, k * width + width / 2))
    rows, degree, worst = pieces(function, spans, vanishes=0, **goal)
    end = (first + ROWS - mpf(5) / 8) * width  # a row further would be another function's
    print(f"/// {what}: error {float(worst):.1e} before rounding")
    print(f"template <class A>\nstruct {name} {{")
    print(f"  static constexpr float kWidth = {float(width)}f, kEnd = {float(end)}f;")
    print_columns(rows, degree)
    losses = [coefficient(parts(function, rows[r][0])[0] - mpf(rows[r][1][0])).hex() + "f" for r in range(ROWS)]
    print(f"  alignas(64) static constexpr float kLost[{ROWS}] = {{")
    print("      " + ", ".join(losses) + "};")
    print("};\n")


def octaves(name, what, function, begin=-5, vanishes=1, first=None, **goal):
    """From 2^begin. The centres are places where the function's value is almost a float."""
    spans = []
    for piece in range(ROWS):
        octave, quarter = mpf(2) ** (piece // 4 + begin), piece % 4
        low, high = octave * (4 + quarter) / 4, octave * (5 + quarter) / 4
        centre = (low + high) / 2
        if piece == 0:
            low = centre = mpf(0)
        else:
            centre = best_centre(function, centre)
        spans.append(((piece + 4 * (127 + begin)) % ROWS, centre, low, high))  # the low bits of exponent and quarter
    rows, degree, worst = pieces(function, spans, vanishes, first=first, **goal)
    print(f"/// {what}: error {float(worst):.1e} before rounding")
    print(f"template <class A>\nstruct {name} {{")
    print(f"  static constexpr float kBegin = {2.0**begin}f, kEnd = {2.0 ** (begin + 8)}f;")
    if first is not None:
        print(f"  static constexpr float kFirst = {float(spans[0][3])}f;")
    print(f"  alignas(64) static constexpr float kCentres[{ROWS}] = {{")
    print("      " + ", ".join(float(rows[r][0]).hex() + "f" for r in range(ROWS)) + "};")
    print_columns(rows, degree)
    print("};\n")


def best_centre(function, middle):
    unit = mpf(2) ** (mp.floor(mp.log(middle, 2)) - 23)
    best, smallest = middle, mpf(1)
    for step in range(-2000, 2001):
        centre = middle + step * unit
        value = function(centre)
        error = abs(mpf(rounded(value, "float")) / value - 1)
        if error < smallest:
            best, smallest = centre, error
    return best


def main():
    print("// SPDX-License-Identifier: MIT")
    print("// Generated by fit_tables.py: do not edit.")
    print("// clang-format off")
    print("#pragma once\n")
    print("namespace tilewright::detail {\n")
    print("// On the architecture tag, like everything that a kernel is made of.\n")
    even("SigmoidTable", "sigmoid(x)", silu_gate, "0.5", goal=mpf(2) ** -26)
    even("SiluSlopeTable", "silu'(x)", silu_derivative, "0.5")
    even("QuickGeluTable", "sigmoid(1.702 x)", quick_gate, "0.375")
    even("QuickGeluSlopeTable", "quick_gelu'(x)", quick_derivative, "0.375")
    even("GeluTable", "gelu(x) / x", lambda x: normal_tail(-x), "0.265625", goal=mpf(2) ** -24)
    even("GeluSlopeTable", "gelu'(x)", gelu_derivative, "0.265625", goal=mpf(2) ** -24)
    even("GeluTanhTable", "gelu_tanh(x) / x", tanh_gate, "0.265625", goal=mpf(2) ** -24)
    even("GeluTanhSlopeTable", "gelu_tanh'(x)", tanh_derivative, "0.265625", goal=mpf(2) ** -24)
    even("MishTable", "mish(x) / x", mish_gate, "0.375")
    even("MishSlopeTable", "mish'(x)", mish_derivative, "0.375")
    even("SoftplusTable", "log(1 + exp(-a))", lambda a: log1p(exp(-a)), "0.25", signed=False)
    octaves("TanhTable", "tanh(a)", tanh)
    octaves("ExpFallTable", "1 - exp(-a)", lambda a: -expm1(-a))
    octaves("ErfTable", "erf(a), below kFirst without a itself", erf, first=lambda a: (erf(a) - a, erf(a)), goal=mpf(2) ** -27)
    octaves("TanhshrinkTable", "a - tanh(a), below kFirst over a^2 without float(1/3) a", lambda a: a - tanh(a),
            first=lambda a: ((a - tanh(a)) / a**2 - mpf(rounded(mpf(1) / 3, "float")) * a, (a - tanh(a)) / a**2))
    octaves("TanhSquareTable", "tanh(a)^2", lambda a: tanh(a) ** 2, begin=-4, vanishes=2)
    print("}  // namespace tilewright::detail")


if __name__ == "__main__":
    main()
