#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Changes one place of kernels/ at a time and looks whether the tests notice.

    tests/mutants.py COUNT [--minutes M] [--seed S] [--only FILE-PART] [--again TESTS] [--out FILE]

All mutants are compiled at once and chosen by a variable of the environment (mutants.hpp), and only the tests that run
over a mutant judge it. What cannot be chosen while the program runs (a template's argument, what the compiler computes)
is compiled mutant by mutant, which takes longer. A mutant is killed when a test fails, crashes or takes far too long.
Mutants that do not compile, or whose machine code is the same as before, are not counted. --again judges the survivors
of the last run, which had the same arguments, by the tests with these names ("Misuse.*:c_api"), which were added since.
"""
import argparse
import collections
import concurrent.futures
import datetime
import fnmatch
import hashlib
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutants"
# Left out is what no test of results can see: what it prints, how fast it is, and which of several ways that give the
# same bits a call takes (tests/gemm_paths_test.cpp compares the ways; the blocking of gemm is judged, its decisions are a test).
LEFT_OUT = re.compile(r"kernels/(core/profile|roof/|core/cpu|isa/|simd/tables\.hpp|simd/fit)")
SKIPPED_LINE = re.compile(
    r"^\s*(//|#|\*|static_assert|template|using|namespace|throw)|operator|inline constexpr const char|"
    r"(plan|most|ready)_(threads|rows|bytes)|anoseconds|atience|kThreadWork|CallInfo|likely|\bwork\b|"  # time
    r"(for_rows|for_row_groups|for_pieces|split)\(|"  # its arguments are costs
    r"fetch|Stream<|next_[bc]\b|at_end\b|tile\.next|\bsoon\b|\bahead\b|rows_of = |"  # what is fetched ahead
    r"asleep|\blate\b|callers_cpu|helpers|\bmine\b|any \|=|past_caches|Waits|"  # who waits how long, who runs a part, where stores go
    r"reserve\(|scratch<|Plan<T>\(p, p\.a\.cols, 1\)|\belements = |one_by_one|_memory\(|const int team|"  # room
    r"bool (turn|neighbours|contiguous|dense|usual|apart|plain|memory|ascending|shared|half|wide|ragged|single|one_line|along_row|"
    r"last_panel|rows_apart|cols_apart)\b")  # ways
WAYS = ("few_rows_fit", "worth_turning", "way_of", "rate_of", "work_of", "next_panel_of_b", "next_rows_of_a", "stream_of_c", "is_small", "fits",
        "spin_until", "keep_off", "is_ready", "fits_together", "rows_together", "waits_of", "stores_of", "end_of", "are_disjoint", "has_usual_extents", "micro_for", "line_up", "fetch", "restart")

SWAPS = {"+": "-", "-": "+", "*": "+", "/": "*", "<": "<=", ">": ">=", "<=": "<", ">=": ">", "==": "!=", "!=": "=="}
NEGATED = {"<": ">=", ">": "<=", "<=": ">", ">=": "<"}
NUMBER = re.compile(r"(?<![\w.])(\d+)(?![\w.'])")
FRACTION = re.compile(r"(?<![\w.])(\d+\.\d+(?:e-?\d+)?)(?=F?\b)(?!x)")
MINIMUM = re.compile(r"((?:std::)?)\b(min|max)((?:<[\w:]+>)?)\(")
STATEMENT = re.compile(r"^(\s+)((?!return|using|const|constexpr|static|case|default|break|continue|if|for|while|else|do)"
                       r"[\w:.\[\]>()*&-]+(?:\(.*\)| [-+*|&]?= .*);)$")
SLOW = "Checkpoint.SurvivesKill", "AfterFork", "Sleeps"
ON = "::tilewright_mutants::on<@>()"  # @ is the mutant's number
JOBS = os.cpu_count() or 1

# file, line (from 0), the line when it is compiled alone, the line when it is one of many, what was done
Mutant = collections.namedtuple("Mutant", "file line alone together what")


def operand_after(code, begin):
    """The end of what && or || at the left of begin takes as its right side, or None if it ends on another line."""
    depth = 0
    for i in range(begin, len(code)):
        if code[i] in "([{":
            depth += 1
        elif code[i] in ")]}":
            if depth == 0:
                return i
            depth -= 1
        elif depth == 0 and (code[i] in ";,?" or code[i : i + 4] in (" && ", " || ") or code[i : i + 3] == " : "):
            return i
    return None


def without_ways(lines):
    """The lines, empty where a function of WAYS is defined."""
    depth, reports = None, False
    for line in lines:
        reports = reports or re.search(r"\b(Call call|Record record)\(", line)  # to the profiler, over several lines
        if reports:
            reports = not line.rstrip().endswith(";")
            yield ""
            continue
        if depth is None and re.match(rf"^\s*[\w:<>&*\[\] ]+ ({'|'.join(WAYS)})\(", line) and not line.rstrip().endswith(";"):
            depth = 0
        yield "" if depth is not None else line
        if depth is not None:
            depth += line.count("{") - line.count("}")
            if depth == 0 and "}" in line:
                depth = None


def mutants_of(file):
    found = []
    before = ";"
    for number, line in enumerate(without_ways((ROOT / file).read_text().split("\n"))):
        code = re.split(r"\s*//", line)[0]
        begins, before = before.rstrip()[-1:] in ("", ";", "{", "}", ")", ":"), code or before
        if not code.strip() or SKIPPED_LINE.search(code) or '"' in code or line.endswith("\\"):
            continue
        tail = line[len(code):]

        def add(begin, end, alone, together, what):
            found.append(Mutant(file, number, code[:begin] + alone + code[end:] + tail, code[:begin] + together + code[end:] + tail, what))

        for old, new in SWAPS.items():
            # At the border between two formulas both give the same number: there the swap is a negation.
            if re.search(r"select\(|set<T|\bnear\b", code):
                new = NEGATED.get(old, new)
            for m in re.finditer(f" {re.escape(old)} ", code):
                add(*m.span(), f" {new} ", f" {old} ::tilewright_mutants::At<@{', true' if new == NEGATED.get(old) else ''}>{{}} {old} ", f"{old} -> {new}")
        for m in re.finditer(r" ([+-])= ", code):
            new = "+-"[m[1] == "+"]
            add(*m.span(), f" {new}= ", f" {m[1]}= ::tilewright_mutants::Sign<@>{{}} = ", f"{m[1]}= -> {new}=")
        for m in re.finditer(r" (&&|\|\|) ", code):
            end = operand_after(code, m.end())
            if end is not None:
                together = f" && ({ON} || ({code[m.end():end]}))" if m[1] == "&&" else f" || (!{ON} && ({code[m.end():end]}))"
                add(m.start(), end, "", together, f"deleted: {code[m.start():end].strip()}")
        for m in MINIMUM.finditer(code):
            other = {"min": "max", "max": "min"}[m[2]]
            chosen = f"[&](const auto& x_, const auto& y_) {{ return {ON} ? {m[1]}{other}{m[3]}(x_, y_) : {m[1]}{m[2]}{m[3]}(x_, y_); }}("
            add(*m.span(), f"{m[1]}{other}{m[3]}(", chosen, f"{m[2]} -> {other}")
        for m in re.finditer(r"\b(true|false)\b", code):
            add(*m.span(), {"true": "false", "false": "true"}[m[1]], ("!" if m[1] == "true" else "") + ON, f"not {m[1]}")
        for m in NUMBER.finditer(code):
            n = int(m[1])
            for new in sorted({n + 1, max(0, n - 1)} - {n}):
                add(*m.span(), str(new), f"({ON} ? {new} : {n})", f"{n} -> {new}")
        for m in FRACTION.finditer(code):
            new = repr(float(m[1]) * 1.03125 + (0.03125 if float(m[1]) == 0 else 0))
            suffix = code[m.end() : m.end() + 1] if code[m.end() : m.end() + 1] == "F" else ""
            add(m.start(), m.end() + len(suffix), new + suffix, f"({ON} ? {new}{suffix} : {m[1]}{suffix})", f"{m[1]} -> {new}")
        m = STATEMENT.match(code)
        if m and begins:
            add(0, len(code), m[1] + ";", f"{m[1]}{{ if (!{ON}) {{ {m[2]} }} }}", "deleted: " + m[2])
    return found


class Tree:
    """A copy of the sources with builds of its own."""

    def __init__(self, name):
        self.path = WORK / name
        subprocess.run(["git", "checkout-index", "-a", "-f", f"--prefix={self.path}/"], cwd=ROOT, check=True)

    def configure(self, build, isas, flags):
        self.build = self.path / build
        ccache = shutil.which("ccache")  # what a mutant changed is compiled once more as it was
        subprocess.run(["cmake", "-G", "Ninja", "-S", self.path, "-B", self.build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF",
                        f"-DTILEWRIGHT_ISAS={isas}", f"-DCMAKE_CXX_FLAGS_RELEASE=-O1 -w {flags}",
                        *([f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}"] if ccache else [])], check=True, stdout=subprocess.DEVNULL)

    def compile(self, jobs):
        """What the compiler said, or None."""
        done = subprocess.run(["ninja", "-k", "0", f"-j{jobs}", "tilewright_tests", "tilewright_accuracy", "c_api_test"], cwd=self.build,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return None if done.returncode == 0 else done.stdout

    def write(self, file, lines):
        (self.path / file).write_text("\n".join(lines))

    def code(self):
        """A digest of the kernels' machine code."""
        digest = hashlib.sha256()
        for o in sorted((self.build / "kernels").rglob("*.o")):
            digest.update(o.read_bytes())
        return digest.hexdigest()

    def command(self, names):
        if names[0] == "accuracy":
            return [self.build / "tests" / "tilewright_accuracy", "--check", "docs/accuracy.md"]
        if names[0] == "c_api":
            return [self.build / "tests" / "c_api_test"]
        return [self.build / "tests" / "tilewright_tests", "--gtest_fail_fast", "--gtest_brief=1", "--gtest_filter=" + ":".join(names)]

    def passes(self, tests, seconds, **environment):
        """Tests are (name, ISA), all of one ISA."""
        environment["TILEWRIGHT_ISA"] = tests[0][1]
        try:
            return subprocess.run([str(c) for c in self.command([t[0] for t in tests])], cwd=self.path, timeout=seconds, env=os.environ | environment, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def tests(self, isas):
        listed = subprocess.check_output([self.build / "tests" / "tilewright_tests", "--gtest_list_tests"], text=True)
        suite, names = "", []
        for line in listed.split("\n"):
            word = line.split("#")[0].strip()
            if line.startswith(" "):
                names.append(suite + word)
            elif word.endswith("."):
                suite = word
        names = [n for n in names if not any(s in n for s in SLOW)] + ["accuracy", "c_api"]
        return [(n, isa) for isa in isas for n in names if isa == isas[0] or n != "accuracy"]  # it looks at every ISA


def write_together(tree, mutants):
    """Sources with every mutant in them, numbered from 1."""
    by_file = collections.defaultdict(list)
    for number, m in mutants.items():
        by_file[m.file].append((number, m))
    for file in {m.file for m in mutants.values()}:
        lines = (ROOT / file).read_text().split("\n")
        for number, m in by_file[file]:
            lines[m.line] = m.together.replace("@", str(number))
        if (tree.path / file).read_text() != "\n".join(lines):
            tree.write(file, lines)


def compile_together(tree, mutants):
    """Takes out the mutants that cannot be chosen at run time, until the rest compiles; returns what was taken out."""
    out = {}
    where = {(m.file, m.line): number for number, m in mutants.items()}
    while True:
        write_together(tree, {n: m for n, m in mutants.items() if n not in out} | {n: m._replace(together=(ROOT / m.file).read_text().split("\n")[m.line]) for n, m in out.items()})
        said = tree.compile(JOBS)
        if said is None:
            return out
        errors = re.findall(r"(kernels/[\w/.]+):(\d+):\d+: +(error:|required from|in .constexpr. expansion)(.*)", said)
        guilty = set()
        for found in (  # a mutant on the line itself, named by the message, on the lines around, or on the way there
            lambda: (where.get((f, int(line) - 1)) for f, line, kind, _ in errors if kind == "error:"),
            lambda: (int(n) for *_, kind, text in errors if kind == "error:" for n in re.findall(r"(?:At|on|Sign|operator..?)<(\d+)", text)),
            lambda: (where.get((f, int(line) - 1 + near)) for f, line, kind, _ in errors if kind == "error:" for near in range(-4, 5)),
            lambda: (where.get((f, int(line) - 1)) for f, line, *_ in errors),
            lambda: (where.get((f, int(line) - 1)) for f, line in re.findall(r"inlined from .* at \S*?(kernels/[\w/.]+):(\d+)", said)),
        ):
            guilty = set(found()) - {None, *out}
            if guilty:
                break
        if not guilty:
            raise SystemExit(said[-6000:])
        out |= {n: mutants[n] for n in guilty}
        print(f"{len(guilty)} cannot be chosen at run time, {len(out)} in all", flush=True)


def groups(tests):
    """By ISA, quick tests first, and what judges by its own program apart."""
    for isa in dict.fromkeys(t[1] for t in tests):
        ours = [t for t in tests if t[1] == isa]
        calls = [t for t in ours if t[0].startswith("Calls.")]
        own = [[t] for t in ours if t[0] in ("accuracy", "c_api")]
        yield from (g for g in ([t for t in ours if t not in calls and [t] not in own], calls, *own) if g)


def judge_together(tree, number, tests, seconds):
    for group in groups(tests):
        if not tree.passes(group, 10 + 1.5 * sum(seconds[t] for t in group), TILEWRIGHT_MUTANT=str(number)):
            return f"{group[0][0] if len(group) == 1 else 'suite'} {group[0][1]}"
    return "survived"


def judge_alone(tree, m, tests, seconds, code):
    text = (tree.path / m.file).read_text()
    lines = text.split("\n")
    lines[m.line] = m.alone
    tree.write(m.file, lines)
    try:
        if tree.compile(1) is not None:
            return "does not compile"
        if tree.code() == code:
            return "same code"
        for group in groups(tests):
            if not tree.passes(group, 10 + 1.5 * sum(seconds[t] for t in group)):
                return "suite, alone"
        return "survived, alone"
    finally:
        (tree.path / m.file).write_text(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no mutant after that")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", default="")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    isas = "sse2;avx2" + (";avx512" if "avx512bw" in flags else "")

    files = [f for f in subprocess.check_output(["git", "ls-files", "kernels"], cwd=ROOT, text=True).split()
             if f.endswith((".hpp", ".cpp")) and not LEFT_OUT.search(f) and options.only in f]
    places = collections.defaultdict(list)  # one mutant a line, since they are compiled together
    for f in files:
        for m in mutants_of(f):
            places[f, m.line].append(m)
    generator = random.Random(options.seed)
    weights = [len(p) for p in places.values()]
    order = sorted(places, key=dict(zip(places, (generator.random() ** (1 / w) for w in weights))).get, reverse=True)
    chosen = [generator.choice(places[p]) for p in order[: options.count]]
    print(f"{len(chosen)} of {sum(weights)} mutants on {len(places)} lines", flush=True)
    mutants = dict(enumerate(chosen, start=1))

    fates = {}
    if options.again:
        for line in (WORK / "log.txt").read_text().splitlines():
            number, file, place, what, fate = line.split(" | ")
            assert mutants[int(number)][:2] == (file, int(place) - 1), "the kernels have changed"
            fates[int(number)] = fate
        mutants_again = {n: mutants[n] for n, f in fates.items() if f == "survived"}
    else:
        shutil.rmtree(WORK, ignore_errors=True)
        mutants_again = mutants
    together = Tree("together")
    include = f"-include {together.path}/tests/mutants.hpp"
    together.configure("build-reached", isas, include + " -DTILEWRIGHT_MUTANTS_REACHED")
    out = compile_together(together, mutants_again)
    best_first = isas.split(";")[::-1]
    tests = [t for t in together.tests(best_first) if not options.again or any(fnmatch.fnmatchcase(t[0], p) for p in options.again.split(":"))]
    seconds, reached = {}, collections.defaultdict(list)

    def look(test):
        file = WORK / f"reached-{abs(hash(test))}"
        begin = time.monotonic()
        assert together.passes([test], 600, TILEWRIGHT_REACHED=str(file)), f"{test} fails without a mutant"
        seconds[test] = time.monotonic() - begin
        for n in file.read_text().split() if file.exists() else []:
            reached[int(n)].append(test)

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(look, tests))
    print(f"{len(reached)} are reached by {len(tests)} tests, which take {sum(seconds.values()):.0f} s", flush=True)

    log = (WORK / "log.txt").open("w", buffering=1)
    for n, fate in fates.items():
        print(n, mutants[n].file, mutants[n].line + 1, mutants[n].what, fate, sep=" | ", file=log)

    def note(number, fate):
        fates[number] = fate
        print(number, mutants[number].file, mutants[number].line + 1, mutants[number].what, fate, sep=" | ", file=log)

    together.configure("build", isas, include)
    assert together.compile(JOBS) is None

    def judge_one(number):
        if time.monotonic() < end:
            note(number, judge_together(together, number, sorted(reached[number], key=lambda t: (best_first.index(t[1]), seconds[t])), seconds))

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(judge_one, sorted(set(reached) - set(out))))
    print(f"{len(fates)} judged, {sum(f == 'survived' for f in fates.values())} survived", flush=True)

    # What could not be chosen at run time, or no test ran over: it may be the compiler's. A tree for each worker.
    alone = sorted(set(mutants) - set(fates) if not options.again else (), key=lambda n: mutants[n][:2])
    trees = [Tree(f"alone{i}") for i in range(JOBS if alone else 0)]
    for tree in trees:
        tree.configure("build", isas, "")
        assert tree.compile(JOBS) is None

    def judge_share(index):
        code = trees[index].code()
        for number in alone[index * len(alone) // JOBS : (index + 1) * len(alone) // JOBS]:
            if time.monotonic() < end:
                note(number, judge_alone(trees[index], mutants[number], tests, seconds, code))

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(judge_share, range(len(trees))))
    report(mutants, fates, options)


def report(mutants, fates, options):
    judged = {n: f for n, f in fates.items() if f not in ("does not compile", "same code")}
    survivors = {n for n, f in judged.items() if f.startswith("survived")}
    by_folder = collections.defaultdict(lambda: [0, 0])
    for n in judged:
        by_folder[mutants[n].file.split("/")[1]][0] += n not in survivors
        by_folder[mutants[n].file.split("/")[1]][1] += 1
    fate_counts = collections.Counter(fates.values())
    lines = [f"{len(judged) - len(survivors)} of {len(judged)} mutants killed ({100 - 100 * len(survivors) / max(1, len(judged)):.1f} %); "
             f"`tests/mutants.py {options.count} --seed {options.seed}`, {datetime.date.today()}. "
             f"Not counted: {fate_counts['does not compile']} that do not compile, {fate_counts['same code']} with the same machine code.",
             "", "| folder | killed | of |", "|---|---:|---:|"]
    lines += [f"| {folder} | {k} | {n} |" for folder, (k, n) in sorted(by_folder.items())]
    lines += ["", "| survivor | change |", "|---|---|"]
    lines += [f"| `{mutants[n].file}:{mutants[n].line + 1}` | `{mutants[n].what.replace('|', '¦')}` |"
              for n in sorted(survivors, key=lambda n: mutants[n][:2])]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)


if __name__ == "__main__":
    main()
