#!/usr/bin/env python3
"""Holds sandboxed Python beside its alternatives, and writes the tables of docs/python.md.

    compare.py [--write docs/python.md]

It needs sandboxlib-ng, RestrictedPython, pydantic-monty and numpy, all of PyPI. Every program runs
in a process of its own, which is what RestrictedPython and monty would need as well: what a
program does to that process is what is looked at. The hostile ones try to do harm to a directory
made for it, to a server of ours and to a canary in memory, and to nothing else.
"""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

#: What each is to reach or to do. `{secret}` is a file of the caller's, `{port}` a server of his.
#: A snippet that says HARM has done what it was not to do.
HOSTILE = {
    "read a file of the caller's": "print('HARM' if 'canary' in open('{secret}').read() else '')",
    "write beside it": "open('{secret}.new', 'w').write('x'); print('HARM')",
    "run a program": "import os\nif os.popen('cat {secret}').read(): print('HARM')",
    "subclasses of object": (
        "for c in ().__class__.__base__.__subclasses__():\n"
        "    if c.__name__ == '_wrap_close':\n"
        "        if 'canary' in c.__init__.__globals__['popen']('cat {secret}').read():\n"
        "            print('HARM')"
    ),
    "frames": (
        "try:\n    raise ValueError\nexcept ValueError as e:\n    f = e.__traceback__.tb_frame\n"
        "    while f.f_back:\n        f = f.f_back\n"
        "    if 'canary' in f.f_builtins['open']('{secret}').read():\n        print('HARM')"
    ),
    "ctypes": (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "if libc.open(b'{secret}', 0) >= 0: print('HARM')"
    ),
    "the environment": "import os\nif 'CANARY' in os.environ: print('HARM')",
    "connect to a server": (
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 3).close()\nprint('HARM')"
    ),
    "kill the caller": "import os, signal\nos.kill(os.getppid(), 0)\nif os.getppid() > 1: print('HARM')",
    "loop for ever": "while True: pass",
    "allocate 4 GB": "x = [0]\nfor n in range(29): x = x + x\nprint('HARM', len(x))",
    "print for ever": "while True: print('x' * 1000)",
}
#: A value that is to come back.
USEFUL = {
    "a regular expression": ("import re\nvalue = re.sub('a+', 'b', 'caat')", "cbt"),
    "a long loop": ("value = 0\nfor n in range(1000000): value = value + n", 499999500000),
    "a big allocation": ("x = [0]\nfor n in range(22): x = x + x\nvalue = len(x)", 1 << 22),
    "files": ("open('f', 'w').write('text')\nvalue = open('f').read()", "text"),
    "numpy": ("import numpy\nvalue = int(numpy.arange(1000).sum())", 499500),
    "a socket, by leave": (
        "import socket\nwith socket.create_connection(('127.0.0.1', {port}), 5) as s: value = s.recv(2).decode()",
        "hi",
    ),
}
SECONDS = 5
MEMORY = 1 << 30

OURS = """
import sys
from sandboxlib.python import *
code, network, limits = sys.stdin.read(), {network!r}, dict(wall={seconds}, memory={memory}, output=1 << 20)
with PythonSandbox(network=network, limits=limits) as box:
    try:
        names = box.exec("value = None\\n" + code, returns=["value"])
        print(box.last.stdout, end="")
        print("VALUE", repr(names.get("value")))
    except CodeError as error:
        print("REFUSED", error.type)
    except LimitExceeded as error:
        print("HELD", error.limit)
    except SandboxError as error:
        print("REFUSED", type(error).__name__)
"""
RESTRICTED = """
import sys
from RestrictedPython import compile_restricted, safe_globals, utility_builtins, limited_builtins, PrintCollector
from RestrictedPython.Guards import guarded_iter_unpack_sequence, safer_getattr
from RestrictedPython.Eval import default_guarded_getiter, default_guarded_getitem
from operator import iadd
code = sys.stdin.read()
scope = dict(safe_globals)
scope["__builtins__"] = dict(safe_globals["__builtins__"], **utility_builtins)
scope.update(_getattr_=safer_getattr, _getiter_=default_guarded_getiter, _getitem_=default_guarded_getitem,
             _iter_unpack_sequence_=guarded_iter_unpack_sequence, _print_=PrintCollector, _write_=lambda x: x)
try:
    exec(compile_restricted(code, "<code>", "exec"), scope)
    print(scope["_print"]() if "_print" in scope else "", end="")
    print("VALUE", repr(scope.get("value")))
except Exception as error:
    print("REFUSED", type(error).__name__)
"""
MONTY = """
import sys
import pydantic_monty
code = sys.stdin.read()
last = "\\nvalue" if "value" in code else "\\nNone"
limits = dict(max_feed_duration_secs={seconds}, max_memory={memory})
try:
    with pydantic_monty.Monty() as pool, pool.checkout(limits=limits) as session:
        printed = pydantic_monty.CollectString(1 << 20)
        try:
            value = session.feed_run(code + last, print_callback=printed)
        finally:
            print(printed.output)
    print("VALUE", repr(value))
except BaseException as error:
    said = str(error)
    held = any(word in said for word in ("limit", "TimeoutError", "MemoryError"))
    print("HELD" if held else "REFUSED", said.splitlines()[-1][:60] if said else type(error).__name__)
"""
BARE = """
import sys
code = sys.stdin.read()
scope = dict()
try:
    exec(code, scope)
    print("VALUE", repr(scope.get("value")))
except Exception as error:
    print("REFUSED", type(error).__name__)
"""
PROGRAMS = {
    "sandboxlib": OURS,
    "RestrictedPython": RESTRICTED,
    "pydantic-monty": MONTY,
    "bare subprocess": BARE,
}


class Server:
    """Says hi to whoever comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection:
                connection.sendall(b"hi")


def run(program, code, network):
    """What a program did with code: its last words, or how it was ended from outside."""
    place = tempfile.mkdtemp()
    text = program.format(network=network, seconds=SECONDS, memory=MEMORY)
    command = [sys.executable, "-c", text]
    environment = dict(os.environ, CANARY="canary", PYTHONUNBUFFERED="1")
    child = subprocess.Popen(
        command,
        stdin=-1,
        stdout=-1,
        stderr=-3,
        cwd=place,
        env=environment,
        start_new_session=True,
    )
    got, most = bytearray(), 8 << 20

    def read():
        while len(got) < most:
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                return
            got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        child.stdin.write(code.encode())
        child.stdin.close()
        reader.join(SECONDS + 6)
        ended = not reader.is_alive() and len(got) < most
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        reader.join()
        child.stdout.close()
    if len(got) >= most:
        return "HARM", "it printed on"
    if not ended:
        return "HARM", "it ran on"
    lines = got.decode(errors="replace").splitlines()
    if any(line.startswith("HARM") for line in lines):
        return "HARM", "done"
    last = lines[-1] if lines else "DIED"
    word, _, rest = last.partition(" ")
    return word, rest


def verdicts(secret, port):
    """The rows of the two tables."""

    def fill(code):
        return code.replace("{secret}", str(secret)).replace("{port}", str(port))

    hostile, useful = [], []
    for name, code in HOSTILE.items():
        cells = []
        for program in PROGRAMS.values():
            word, rest = run(program, fill(code), False)
            rest = rest.split(":")[0]
            text = {"HARM": "**%s**" % rest, "HELD": "held: " + rest, "REFUSED": "refused: " + rest}
            cells.append(text.get(word, "held: found nothing" if word == "VALUE" else "held: died"))
        hostile.append([name] + cells)
    for name, (code, wanted) in USEFUL.items():
        cells = []
        for program in PROGRAMS.values():
            word, rest = run(program, fill(code), "port" in code)
            ran = word == "VALUE" and rest == repr(wanted)
            cells.append("runs" if ran else "no: " + (rest or word).split(":")[0])
        useful.append([name] + cells)
    return hostile, useful


def median(call, times):
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)


def fresh_calls():
    """Milliseconds for a fresh `1 + 1`."""
    from sandboxlib.python import PythonSandbox

    rows = []
    with PythonSandbox() as box, box.session() as session:

        def waited():
            box.eval("1 + 1")

        def ahead():
            began = time.perf_counter()
            box.eval("1 + 1")
            spent.append((time.perf_counter() - began) * 1000)
            time.sleep(0.3)

        spent = []
        for _ in range(20):
            ahead()
        rows.append(["sandboxlib, a fresh interpreter that was started ahead", statistics.median(spent)])
        rows.append(["sandboxlib, a fresh interpreter, one call after the other", median(waited, 20)])
        rows.append(["sandboxlib, a session", median(lambda: session.eval("1 + 1"), 200)])
    bare = [sys.executable, "-I", "-c", "print(1 + 1)"]
    rows.append(["bare subprocess", median(lambda: subprocess.run(bare, stdout=-1), 20)])
    from RestrictedPython import compile_restricted_eval, safe_globals

    code = "1 + 1"

    def restricted():
        eval(compile_restricted_eval(code).code, dict(safe_globals))

    rows.append(["RestrictedPython, in the caller's process", median(restricted, 200)])
    import pydantic_monty

    def checked_out():
        with pool.checkout() as session:
            session.feed_run(code)

    with pydantic_monty.Monty() as pool:
        rows.append(["pydantic-monty, a session of its own", median(checked_out, 200)])
    return [[name, "%.2f" % ms] for name, ms in rows]


def table(head, rows):
    lines = ["| %s |" % " | ".join(cells) for cells in [head, ["---"] * len(head)] + rows]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="PAGE", help="a page with marks to write between")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        secret = pathlib.Path(place, "secret")
        secret.write_text("canary")
        hostile, useful = verdicts(secret, Server().port)
    names = list(PROGRAMS)
    text = "\n".join(
        (
            table(["hostile"] + names, hostile),
            table(["useful"] + names, useful),
            table(["a fresh `1 + 1`", "ms"], fresh_calls()),
        )
    )
    if not options.write:
        print(text)
        return
    page = pathlib.Path(options.write)
    begin, end = "<!-- compare.py writes from here -->\n", "<!-- to here -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(before + begin + "\n" + text + "\n" + end + after)


if __name__ == "__main__":
    main()
