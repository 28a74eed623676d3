#!/usr/bin/env python3
"""How long a sandboxed /bin/true takes from Python, beside `subprocess.run` of the same.

    speed.py [ROUNDS [NAME...]]

In each round every candidate has its turn, in an order by chance, and each turn is a pair: one run
of the candidate and one of what it is held against, next to each other and in an order by chance
too, so that what else the machine does meets both. A figure is the median of the pairs' ratios.
sandlock, sandboxkit (PyPI) and bwrap are measured where they are there; who is not, or fails, is
named with the reason. NAMEs are parts of candidates' names, if not all are wanted.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import sandboxlib
from sandboxlib.python import PythonSandbox

TRUE = ["/bin/true"]
#: How many sandboxes stand ready, or interpreters wait.
READY = 2


def plain():
    return subprocess.run(TRUE).returncode


def plain_python():
    return subprocess.run([sys.executable, "-I", "-c", "1 + 1"]).returncode


class Candidate:
    """Something to measure: ``call`` gives an exit status, ``beside`` is what it is held against,
    and ``settle`` waits, unmeasured, until a call finds what it would find in a program that does
    not call all the time."""

    def __init__(self, call, beside=plain, settle=lambda: None):
        self.call, self.beside, self.settle = call, beside, settle


def until(true):
    """Waits for something that happens in the background."""
    for _ in range(1000):
        if true():
            # What has just been made still works on what comes behind it.
            time.sleep(0.002)
            return
        time.sleep(0.001)
    raise RuntimeError("what is to stand ready does not")


def prepared():
    sandbox = sandboxlib.Sandbox("/").prepare()
    return Candidate(lambda: sandbox.run(TRUE).returncode)


def small():
    """With a root that shows /usr and the loader's cache alone, as a build tool has it: nothing of it
    has to be hidden."""
    place = tempfile.TemporaryDirectory()
    for name in ("usr", "proc", "dev", "tmp"):
        os.mkdir(os.path.join(place.name, name))
    for name in ("bin", "lib", "lib64"):
        os.symlink("usr/" + name, os.path.join(place.name, name))
    mounts = [sandboxlib.Mount.bind("/usr", "/usr")]
    # Without it the loader searches every directory there could be, which it does not outside.
    if os.path.exists("/etc/ld.so.cache"):
        mounts.append(sandboxlib.Mount.bind("/etc/ld.so.cache"))
    sandbox = sandboxlib.Sandbox(place.name, mounts=mounts).prepare()

    def call():
        assert place.name
        return sandbox.run(TRUE).returncode

    return Candidate(call)


def warm():
    sandbox = sandboxlib.Sandbox("/").prepare()
    sandbox.warm(READY)
    full = lambda: until(lambda: sandbox.warmed >= READY)
    return Candidate(lambda: sandbox.run(TRUE).returncode, settle=full)


def anew():
    sandbox = sandboxlib.Sandbox("/")
    return Candidate(lambda: sandbox.run(TRUE).returncode)


def python():
    box = PythonSandbox(ahead=READY)
    full = lambda: until(lambda: len(box._spare) >= READY)
    return Candidate(lambda: box.eval("1 + 1") - 2, plain_python, full)


def python_at_once():
    box = PythonSandbox(ahead=0)
    return Candidate(lambda: box.eval("1 + 1") - 2, plain_python)


def sandlock():
    import sandlock

    sandbox = sandlock.Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"])
    return Candidate(lambda: 0 if sandbox.run(TRUE).success else 1)


def sandboxkit():
    import sandboxkit

    sandbox = sandboxkit.Sandbox()
    return Candidate(lambda: sandbox.run_argv(TRUE).returncode)


def bwrap():
    if not shutil.which("bwrap"):
        raise FileNotFoundError("no bwrap in PATH")
    words = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    return Candidate(lambda: subprocess.run(words + ["--"] + TRUE).returncode)


MAKERS = {
    "sandboxlib, prepared": prepared,
    "sandboxlib, prepared, a root of its own": small,
    "sandboxlib, warm": warm,
    "sandboxlib, planned anew": anew,
    "PythonSandbox, a fresh interpreter that was started ahead": python,
    "PythonSandbox, a fresh interpreter": python_at_once,
    "sandlock": sandlock,
    "sandboxkit": sandboxkit,
    "bwrap by subprocess": bwrap,
}


def timed(call):
    began = time.perf_counter()
    status = call()
    spent = time.perf_counter() - began
    if status != 0:
        raise RuntimeError("it did not run: status %s" % status)
    return spent


def pair(candidate):
    """The times of the candidate and of what is beside it."""
    candidate.settle()
    if random.random() < 0.5:
        own = timed(candidate.call)
        return own, timed(candidate.beside)
    beside = timed(candidate.beside)
    return timed(candidate.call), beside


def measure(rounds, names):
    """The pairs of each candidate, and why others have none."""
    candidates, spent, missing = {}, {}, {}
    for name, make in MAKERS.items():
        if names and not any(part in name for part in names):
            continue
        try:
            candidates[name] = make()
            for _ in range(3):
                pair(candidates[name])
            spent[name] = []
        except Exception as error:
            missing[name] = error
            candidates.pop(name, None)
    for _ in range(rounds):
        for name in random.sample(list(candidates), len(candidates)):
            try:
                spent[name].append(pair(candidates[name]))
            except Exception as error:
                missing[name] = error
                del candidates[name], spent[name]
    return spent, missing


def main(rounds, names):
    out = os.dup(1)
    # The same for all, and nothing that depends on where this was started.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    spent, missing = measure(rounds, names)
    lines = ["| | ms | beside it, ms | ratio | p10 | p90 |", "| --- | --- | --- | --- | --- | --- |"]
    for name, pairs in spent.items():
        ratios = sorted(own / beside for own, beside in pairs)
        low, high = ratios[len(ratios) // 10], ratios[len(ratios) * 9 // 10]
        own, beside = (statistics.median(column) * 1000 for column in zip(*pairs))
        figures = (own, beside, statistics.median(ratios), low, high)
        lines.append("| %s | %s |" % (name, " | ".join("%.2f" % figure for figure in figures)))
    for name, error in missing.items():
        lines.append("\nNot measured: %s (%s)" % (name, " ".join(str(error).split())))
    load = os.getloadavg()[0]
    lines.append("\n%d rounds; the machine's load at the end was %.1f." % (rounds, load))
    lines.append("A PythonSandbox is held against a bare interpreter, the others against /bin/true.")
    os.write(out, "\n".join(lines + [""]).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2:])
