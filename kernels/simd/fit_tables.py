#!/usr/bin/env python3
"""Fit the tables of piecewise.hpp and print tables.hpp.

    /usr/bin/python3 kernels/simd/fit_tables.py > kernels/simd/tables.hpp

Each function is cut into 16 pieces, a polynomial in the distance from the piece's centre for each; the centres are
places where the function's value is almost a float. Even tables have pieces of one width around k * width. Octave
tables have pieces that widen with their distance from 0: four of one width, then four of twice that width, and
so on. The degree is the smallest whose error in exact arithmetic is below 2^-25 of the function's scale (less where the
function's bound is narrow).
Takes a minute. Needs Debian's python3-mpmath.
"""
from mpmath import erf, erfc, exp, expm1, log1p, mp, mpf, pi, sqrt, tanh

from fit_coefficients import horner, rounded

mp.dps = 40
ROWS = 16
GRID = 120  # places in a piece where errors are looked for


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


def pieces(function, spans, vanishes, goal=mpf(2) ** -25, first=None, firsts=0):
    """[(centre, coefficients)] for [(row, low, high)], all of the smallest degree that reaches the goal.
    vanishes: f(x) / x^vanishes has a limit at 0, and f keeps its relative accuracy there. first: what the first pieces
    hold instead of the function, with the size against which its error counts."""
    places = []
    near = sorted(abs(low + high) for _, low, high in spans)[:firsts]
    for row, low, high in spans:
        held = first if abs(low + high) in near else function
        centre = centre_of(held, low, high, vanishes)
        lowest = vanishes if centre == 0 and vanishes else 1
        constant = mpf(0) if centre == 0 and vanishes else parts(held, centre)[0]
        # Dense at the ends, but without them and 0, where a scale may vanish.
        middle, half = (low + high) / 2 - centre, (high - low) / 2
        grid = [middle - half * mp.cos(pi * (i + mpf("0.4")) / GRID) for i in range(GRID)]
        values = [parts(held, centre + d) for d in grid]
        places.append((row, centre, constant, lowest, grid, values))
    for degree in range(4, 10):
        rows, worst = [None] * ROWS, mpf(0)
        for row, centre, constant, lowest, grid, values in places:
            scales = [scale for _, scale in values]
            kept = [mpf(coefficient(constant))] + [mpf(0)] * (lowest - 1)
            for power in range(lowest, lowest + 3):  # what the rounding of these loses, those behind them make good
                left = [value - horner(kept, d) for d, (value, _) in zip(grid, values)]
                rest = best_fit(left, scales, grid, power, degree)
                kept.append(mpf(coefficient(rest[0])))
            kept += [mpf(coefficient(c)) for c in rest[1:]]
            worst = max([worst] + [abs(horner(kept, d) - v) / scale for d, (v, scale) in zip(grid, values)])
            rows[row] = (centre, kept)
        if worst < goal:
            return rows, degree, worst
    raise SystemExit("no degree reaches the goal")


def best_fit(values, scales, grid, lowest, degree):
    """Coefficients of d^lowest to d^degree whose largest error in units of scales is about the smallest (Remez)."""
    count = degree - lowest + 1
    values, scales = [v / d**lowest for v, d in zip(values, grid)], [s / abs(d**lowest) for s, d in zip(scales, grid)]
    picked = [(GRID - 1) * i // count for i in range(count + 1)]
    best, smallest = None, mpf("inf")
    for _ in range(12):
        left, right = mp.matrix(count + 1, count + 1), mp.matrix(count + 1, 1)
        for i, g in enumerate(picked):
            for j in range(count):
                left[i, j] = grid[g] ** j
            left[i, count] = (-1) ** i * scales[g]
            right[i] = values[g]
        solution = list(mp.lu_solve(left, right))[:count]
        errors = [(horner(solution, d) - v) / s for d, v, s in zip(grid, values, scales)]
        largest = max(map(abs, errors))
        if largest < smallest:
            best, smallest = solution, largest
        peaks = []  # one for each run of errors of one sign
        for g, error in enumerate(errors):
            if peaks and (error > 0) == (errors[peaks[-1]] > 0):
                if abs(error) > abs(errors[peaks[-1]]):
                    peaks[-1] = g
            else:
                peaks.append(g)
        while len(peaks) > count + 1:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < count + 1 or peaks == picked:
            break
        picked = peaks
    return best


def centre_of(function, low, high, vanishes):
    """About the middle, where the function's value is almost a float; 0 where that is in the piece and does well."""
    if low <= 0 <= high and (vanishes or rounded(parts(function, mpf(0))[0], "float") == parts(function, mpf(0))[0]):
        return mpf(0)
    middle = (low + high) / 2 or high / 8
    unit = mpf(2) ** (mp.floor(mp.log(abs(middle), 2)) - 23)
    middle = mp.floor(middle / unit) * unit

    def loss(centre):
        value, scale = parts(function, centre)
        return abs(mpf(rounded(value, "float")) - value) / scale

    candidates = [middle + step * unit for step in range(-1000, 1001)]
    # Where the function is flat, those are too near: also where it has the values of the next floats.
    slope, value = mp.diff(lambda x: parts(function, x)[0], middle), parts(function, middle)[0]
    step = mpf(2) ** (mp.floor(mp.log(abs(value), 2)) - 23)
    for k in range(-8, 9):
        wanted = mpf(rounded(value + k * step, "float"))
        if abs((wanted - value) / slope) < (high - low) / 4:
            away = lambda x: parts(function, x)[0] - wanted
            root = mp.findroot(away, (middle, middle + (wanted - value) / slope), verify=False)
            if abs(root - middle) < (high - low) / 4:
                candidates.append(mp.floor(root / unit) * unit)
    return min(candidates, key=loss)


def print_table(name, what, constants, rows, degree, worst):
    print(f"/// {what}: error {float(worst):.1e} before rounding")
    print(f"template <class A>\nstruct {name} {{")
    print("  static constexpr float " + ", ".join(f"{k} = {float(v)}f" for k, v in constants.items()) + ";")
    print(f"  alignas(64) static constexpr float kCentres[{ROWS}] = {{")
    print("      " + ", ".join(float(centre).hex() + "f" for centre, _ in rows) + "};")
    print(f"  alignas(64) static constexpr float kColumns[{degree + 1}][{ROWS}] = {{")
    for column in range(degree + 1):
        print("      {" + ", ".join(float(kept[column]).hex() + "f" for _, kept in rows) + "},")
    print("  };\n};\n")


def even(name, what, function, width, signed=False, vanishes=0, firsts=0, **goal):
    width = mpf(width)
    first = -ROWS // 2 if signed else 0
    end = (first + ROWS - mpf(5) / 8) * width  # a row further would be another function's
    spans = []
    for k in range(first, first + ROWS):
        low = k * width - width / 2 if signed or k > 0 else mpf(0)
        spans.append((k % ROWS, low, min(k * width + width / 2, end)))
    rows, degree, worst = pieces(function, spans, vanishes, firsts=firsts, **goal)
    constants = {"kWidth": width, "kEnd": end}
    if firsts > 0:
        constants["kFirst"] = mpf(3) * 2**22 + firsts
    print_table(name, what, constants, rows, degree, worst)


def octaves(name, what, function, scale, begin="0.5", vanishes=1, firsts=0, **goal):
    """The pieces end where scale x + begin is 5/8, 6/8, 7/8, 1, 10/8, 12/8, 14/8, 2, 20/8, and so on up to 8.
    scale < 0: for x <= 0."""
    scale, begin, low = mpf(scale), mpf(begin), mpf(0)
    spans = []
    for piece in range(ROWS):
        high = (mpf(2) ** (piece // 4) * (5 + piece % 4) / 8 - begin) / scale
        row = (piece + 4 * 126) % ROWS  # the low bits of exponent and quarter, from 1/2 on
        spans.append((row, *sorted([low, high])))
        low = high
    rows, degree, worst = pieces(function, spans, vanishes, firsts=firsts, **goal)
    if scale < 0:
        rows[spans[0][0]][1][0] = -0.0  # keeps the sign of 0
    constants = {"kScale": scale, "kBegin": begin, "kEnd": abs(high)}
    if firsts > 0:
        constants["kFirst"] = (4 + firsts) / mpf(8)
    print_table(name, what, constants, rows, degree, worst)


def main():
    print("// SPDX-License-Identifier: MIT")
    print("// Generated by fit_tables.py: do not edit.")
    print("// clang-format off")
    print("#pragma once\n")
    print("namespace tilewright::detail {\n")
    print("// On the architecture tag, like everything that a kernel is made of.\n")
    tail = lambda gate: lambda a: gate(-a)
    times = lambda gate: lambda a: a * gate(-a)
    even("SigmoidTable", "sigmoid(-a)", tail(silu_gate), "0.5", goal=mpf(2) ** -24.5)
    even("SiluTable", "-silu(-a)", times(silu_gate), "0.4296875", vanishes=1, goal=mpf(2) ** -24)
    even("SiluSlopeTable", "silu'(-a)", tail(silu_derivative), "0.5")
    even("QuickGeluTable", "-quick_gelu(-a)", times(quick_gate), "0.3203125", vanishes=1, goal=mpf(2) ** -23.75)
    even("QuickGeluSlopeTable", "quick_gelu'(-a)", tail(quick_derivative), "0.375")
    even("GeluTable", "-gelu(-a)", times(lambda x: normal_tail(-x)), "0.2607421875", vanishes=1, goal=mpf(2) ** -23.5)
    even("GeluSlopeTable", "gelu'(-a)", tail(gelu_derivative), "0.265625", goal=mpf(2) ** -24)
    even("GeluTanhTable", "-gelu_tanh(-a)", times(tanh_gate), "0.265625", vanishes=1, goal=mpf(2) ** -24)
    even("GeluTanhSlopeTable", "gelu_tanh'(-a)", tail(tanh_derivative), "0.265625", goal=mpf(2) ** -24)
    mish = lambda x: x * mish_gate(x)
    even("MishTable", "mish(x), in the piece around 0 without 5/8 x", mish, "0.625", signed=True, vanishes=1, firsts=1,
         first=lambda x: (mish(x) - 5 * x / 8, abs(mish(x))), goal=mpf(2) ** -23.5)
    even("MishSlopeTable", "mish'(x)", mish_derivative, "0.6875", signed=True)
    even("SoftplusTable", "log(1 + exp(-a))", lambda a: log1p(exp(-a)), "0.5")
    octaves("TanhTable", "tanh(a)", tanh, "0.8203125", "0.5546875", goal=mpf(2) ** -25)
    octaves("ExpFallTable", "exp(x) - 1, x <= 0", expm1, -1)
    even("ErfTable", "erf(a), below kFirst without a itself", erf, "0.256", vanishes=1, firsts=2,
         first=lambda a: (erf(a) - a, erf(a)), goal=mpf(2) ** -24.5)
    shrunk = lambda a: (a - tanh(a)) / a**2
    octaves("TanhshrinkTable", "a - tanh(a), below kFirst (a - tanh(a)) / a^2 - float(1/3) a", lambda a: a - tanh(a),
            "0.875", firsts=4, first=lambda a: (shrunk(a) - mpf(rounded(mpf(1) / 3, "float")) * a, shrunk(a)),
            goal=mpf(2) ** -24.5)
    octaves("TanhSquareTable", "tanh(a)^2", lambda a: tanh(a) ** 2, "0.765625", vanishes=2, goal=mpf(2) ** -25.5)
    print("}  // namespace tilewright::detail")


if __name__ == "__main__":
    main()
