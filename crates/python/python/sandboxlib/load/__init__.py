"""Loading images into directories."""

from sandboxlib.load import appc  # noqa: F401
