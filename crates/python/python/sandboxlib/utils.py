"""Small helpers of the classic API."""

import shutil
import os

import sandboxlib


def find_program(program_name):
    """The path of ``program_name`` in PATH; raises ProgramNotFound if there is none."""
    path = shutil.which(program_name)
    if path is None:
        raise sandboxlib.ProgramNotFound(
            "Did not find '%s' in PATH. Searched '%s'" % (program_name, os.environ.get("PATH", ""))
        )
    return path


def check_parameter(name, value, supported_values):
    """Raises AssertionError unless ``value`` is one of ``supported_values``."""
    if value not in supported_values:
        raise AssertionError(
            "'%s' is an unsupported value for '%s' in this backend. Supported values: %s"
            % (value, name, ", ".join(map(str, supported_values)))
        )
