#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Changes one place of kernels/ at a time and looks whether the tests notice.

    tests/mutants.py COUNT [--minutes M] [--seed S] [--workers W] [--only FILE-PART] [--out FILE]

Each worker has a copy of the sources and a build of one ISA. A mutant is killed when the suite or the accuracy check
fails, crashes or takes too long. Mutants that do not compile are replaced by others.
"""
import argparse
import collections
import concurrent.futures
import datetime
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutants"
# What it prints, and how fast it is, are not results; tiny.hpp is for avx512 only, which the workers do not build.
LEFT_OUT = re.compile(r"kernels/(core/profile|roof/|core/cpu|isa/|simd/tables\.hpp|simd/fit|gemm/tiny\.hpp)")

SWAPS = [
    (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " + "), (r" / ", " * "), (r" < ", " <= "), (r" > ", " >= "),
    (r" <= ", " < "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "), (r" && ", " || "), (r" \|\| ", " && "),
    (r" \+= ", " -= "), (r" -= ", " += "), (r"\bmin\(", "max("), (r"\bmax\(", "min("), (r"std::min\b", "std::max"),
    (r"std::max\b", "std::min"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
]
NUMBER = re.compile(r"(?<![\w.])(\d+)(?![\w.'])")
FRACTION = re.compile(r"(?<![\w.])(\d+\.\d+(?:e-?\d+)?)(?=F?\b)(?!x)")
STATEMENT = re.compile(r"^\s+(?!return|using|const|constexpr|static|case|default|break|continue|if|for|while|else|do)"
                       r"[\w:.\[\]>()*&-]+(\(.*\)| [-+*|&]?= .*);$")
SKIPPED_LINE = re.compile(r"^\s*(//|#|\*|static_assert|template|using|namespace|throw)|operator|inline constexpr const char|"
                          r"plan_(threads|rows|bytes)|anoseconds|atience|kThreadWork|kMemberCost|\bCall call\b|CallInfo|prefetch|reserve\(|likely")

# Which tests look at a folder first.
FIRST = {
    "gemm": "Gemm*:Calls.*", "map": "Activations*:Functions*:Elementwise*:Dropout*:Embedding*:Calls.*",
    "rows": "Rows*:Losses*:Calls.*", "update": "Updates*:Calls.*", "simd": "Activations*:Functions*:Gemm/*:Rows*:Random*:Losses*",
    "core": "Calls.*:Executors.*-*Fork*:Isa*:Matrix*:FloatState*:Random*",
}


def mutants_of(path):
    """(line number, new line, what) for every place of a file that can be changed."""
    found = []
    for number, line in enumerate(path.read_text().split("\n")):
        code = re.split(r"\s*//", line)[0]
        if not code.strip() or SKIPPED_LINE.search(code) or '"' in code:
            continue
        tail = line[len(code):]
        for pattern, new in SWAPS:
            for m in re.finditer(pattern, code):
                found.append((number, code[: m.start()] + new + code[m.end():] + tail, f"{m[0].strip()} -> {new.strip()}"))
        for m in NUMBER.finditer(code):
            n = int(m[1])
            for new in {n + 1, max(0, n - 1)} - {n}:
                found.append((number, code[: m.start()] + str(new) + code[m.end():] + tail, f"{n} -> {new}"))
        for m in FRACTION.finditer(code):
            new = repr(float(m[1]) * 1.03125 + (0.03125 if float(m[1]) == 0 else 0))
            found.append((number, code[: m.start()] + new + code[m.end():] + tail, f"{m[1]} -> {new}"))
        if STATEMENT.match(code):
            found.append((number, "", "deleted: " + code.strip()))
    return found


def run(command, cwd, timeout=None):
    try:
        return subprocess.run(command, cwd=cwd, timeout=timeout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        return -1


class Worker:
    def __init__(self, index):
        ccache = shutil.which("ccache")  # what a mutant changed is compiled once more as it was
        self.tree = WORK / str(index)
        self.build = self.tree / "build-mutants"
        subprocess.run(["git", "checkout-index", "-a", "-f", f"--prefix={self.tree}/"], cwd=ROOT, check=True)
        subprocess.run(["cmake", "-G", "Ninja", "-S", self.tree, "-B", self.build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF",
                        "-DTILEWRIGHT_ISAS=avx2", "-DCMAKE_CXX_FLAGS_RELEASE=-O1", *([f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}"] if ccache else [])], check=True, stdout=subprocess.DEVNULL)

    def compiles(self):
        return run(["ninja", "-j1", "tilewright_tests", "tilewright_accuracy", "c_api_test"], self.build) == 0

    def notices(self, folder):
        """What failed, or None."""
        tests = str(self.build / "tests" / "tilewright_tests")
        slow = "Checkpoint.SurvivesKill:*AfterFork*:*Sleeps*"
        first, _, without = FIRST[folder].partition("-")
        for what, command, seconds in [
            ("first tests", [tests, "--gtest_fail_fast", "--gtest_brief=1", f"--gtest_filter={first}-{slow}:{without}"], 60),
            ("suite", [tests, "--gtest_fail_fast", "--gtest_brief=1", f"--gtest_filter=*-{slow}"], 240),
            ("accuracy", [str(self.build / "tests" / "tilewright_accuracy"), "--check", "docs/accuracy.md"], 240),
            ("c_api", [str(self.build / "tests" / "c_api_test")], 60),
        ]:
            if run(command, self.tree, seconds) != 0:
                return what
        return None

    def judge(self, file, mutant):
        number, new_line, what = mutant
        path = self.tree / file
        text = path.read_text()
        lines = text.split("\n")
        lines[number] = new_line
        path.write_text("\n".join(lines))
        try:
            if not self.compiles():
                return "does not compile"
            return self.notices(file.split("/")[1]) or "survived"
        finally:
            path.write_text(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no mutant after that")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    files = [f for f in subprocess.check_output(["git", "ls-files", "kernels"], cwd=ROOT, text=True).split()
             if f.endswith((".hpp", ".cpp")) and not LEFT_OUT.search(f) and options.only in f]
    every = [(f, m) for f in files for m in mutants_of(ROOT / f)]
    random.Random(options.seed).shuffle(every)
    shutil.rmtree(WORK, ignore_errors=True)
    workers = [Worker(i) for i in range(options.workers)]
    for w in workers:
        assert w.compiles() and w.notices("core") is None, "the unchanged sources do not pass"
    log = (WORK / "log.txt").open("w", buffering=1)
    results = []
    end = time.monotonic() + 60 * options.minutes
    lock = threading.Lock()

    def judge_some(worker):
        # Neighbours share what is rebuilt, so a worker takes a handful of them in the files' order.
        while True:
            with lock:
                judged = sum(fate != "does not compile" for _, _, fate in results)
                if judged >= options.count or time.monotonic() > end or not every:
                    return
                some = sorted(every.pop() for _ in range(min(12, len(every))))
            for file, mutant in some:
                if time.monotonic() > end:
                    return
                fate = worker.judge(file, mutant)
                print(file, mutant[0] + 1, mutant[2], fate, sep=" | ", file=log)
                with lock:
                    results.append((file, mutant, fate))

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(judge_some, workers))
    report(sorted(results), options)


def report(results, options):
    judged = [r for r in results if r[2] != "does not compile"]
    killed = [r for r in judged if r[2] != "survived"]
    by_folder = collections.defaultdict(lambda: [0, 0])
    for file, _, fate in judged:
        by_folder[file.split("/")[1]][0] += fate != "survived"
        by_folder[file.split("/")[1]][1] += 1
    lines = [f"{len(killed)} of {len(judged)} mutants killed ({100 * len(killed) / max(1, len(judged)):.1f} %); "
             f"seed {options.seed}, {datetime.date.today()}.", "", "| folder | killed | of |", "|---|---:|---:|"]
    lines += [f"| {folder} | {k} | {n} |" for folder, (k, n) in sorted(by_folder.items())]
    lines += ["", "| survivor | change |", "|---|---|"]
    lines += [f"| `{f}:{m[0] + 1}` | `{m[2]}` |" for f, m, fate in judged if fate == "survived"]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)


if __name__ == "__main__":
    main()
