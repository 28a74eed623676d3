"""What an interpreter needs of the host's files. It is run by that very interpreter, too."""

import json
import os
import site
import sys
import sysconfig


def _libraries():
    """The shared libraries that this process has mapped, the loader among them."""
    found = []
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.split(None, 5)[5:]
            path = path[0].rstrip("\n") if path else ""
            if path.startswith("/") and ".so" in os.path.basename(path) and path not in found:
                found.append(path)
    return found


def layout():
    """The interpreter's own files: where they are, and how it is started."""
    # What is loaded when it is used is mapped then.
    for name in ("ssl", "ctypes", "sqlite3", "lzma", "bz2", "zlib", "hashlib", "decimal"):
        try:
            __import__(name)
        except ImportError:
            pass
    directories = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    directories.append(os.path.dirname(os.__file__))
    packages = site.getsitepackages()
    venv = os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "pyvenv.cfg")
    return {
        "executable": sys.executable,
        "version": list(sys.version_info[:3]),
        "directories": [d for d in dict.fromkeys(directories) if d and os.path.isdir(d)],
        "packages": [d for d in dict.fromkeys(packages) if os.path.isdir(d)],
        "venv": venv if os.path.exists(venv) else None,
        "libraries": _libraries(),
    }


if __name__ == "__main__":
    json.dump(layout(), sys.stdout)
