#!/usr/bin/env python3
"""How long a sandboxed /bin/true takes from Python, beside `subprocess.run` of the same.

    speed.py [PAIRS]

Each pair is one run of subprocess and one of the other, next to each other, so that what else the
machine does meets both; the figure is the median of the pairs' ratios. sandlock, sandboxkit (PyPI)
and bwrap are measured where they are there.
"""

import shutil
import statistics
import subprocess
import sys
import time

import sandboxlib

TRUE = ["/bin/true"]


def ours():
    sandbox = sandboxlib.Sandbox("/")
    prepared = sandbox.prepare()
    return {
        "sandboxlib, prepared": lambda: prepared.run(TRUE).returncode,
        "sandboxlib, planned anew": lambda: sandbox.run(TRUE).returncode,
    }


def sandlock():
    import sandlock

    sandbox = sandlock.Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"])
    return {"sandlock": lambda: 0 if sandbox.run(TRUE).success else 1}


def sandboxkit():
    import sandboxkit

    sandbox = sandboxkit.Sandbox()
    return {"sandboxkit": lambda: sandbox.run_argv(TRUE).returncode}


def bwrap():
    if not shutil.which("bwrap"):
        return {}
    words = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    return {"bwrap by subprocess": lambda: subprocess.run(words + ["--"] + TRUE).returncode}


def timed(call):
    began = time.perf_counter()
    status = call()
    spent = time.perf_counter() - began
    if status != 0:
        raise RuntimeError("it did not run: status %s" % status)
    return spent


def main(pairs):
    rows = {}
    for maker in (ours, sandlock, sandboxkit, bwrap):
        try:
            rows.update(maker())
        except Exception as error:
            print("%s is not measured: %s" % (maker.__name__, error), file=sys.stderr)

    def plain():
        return subprocess.run(TRUE).returncode

    print("| `/bin/true` | ms | x subprocess.run |\n| --- | --- | --- |")
    for name, call in rows.items():
        try:
            timed(call), timed(plain)
            spent = [(timed(plain), timed(call)) for _ in range(pairs)]
        except Exception as error:
            print("%s is not measured: %s" % (name, error), file=sys.stderr)
            continue
        ratio = statistics.median(other / bare for bare, other in spent)
        own = statistics.median(other for _, other in spent) * 1000
        print("| %s | %.2f | %.2f |" % (name, own, ratio))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
