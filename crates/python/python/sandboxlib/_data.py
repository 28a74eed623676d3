"""Values that cross the wall: plain data, as JSON with tags for what JSON lacks.

This file is used on both sides. On the way out of a sandbox it reads what an enemy wrote: it
makes nothing but plain data, whose size is bounded by whoever read the bytes, and it refuses
what would take much longer than its size says.
"""

import base64
import json

#: How deep data may be nested.
DEEPEST = 200
#: How many keys of a set or dictionary may have the same hash.
_SAME_HASH = 64


class NotData(ValueError):
    """A value that is no plain data, or bytes that hold none."""


class Encoded:
    """A part of a value that is ready to be written."""

    def __init__(self, names):
        self.names = names


def only_data(names):
    """Those of a dictionary of variables that are data, encoded once."""
    encoded = {}
    for name, value in names.items():
        try:
            encoded[name] = _encode(value, 2)
        except (NotData, RecursionError):
            pass
    return Encoded(encoded)


def _encode(value, depth):
    if type(value) is Encoded:
        return value.names
    if depth > DEEPEST:
        raise NotData("it is nested too deeply, or holds itself")
    if value is None or value is True or value is False:
        return value
    deeper = depth + 1
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        value = int(value)
        return value if -(2**53) < value < 2**53 else {"$int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return {"$complex": [value.real, value.imag]}
    for kind, name in ((bytes, "$bytes"), (bytearray, "$bytearray")):
        if isinstance(value, kind):
            return {name: base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return [_encode(item, deeper) for item in list(value)]
    for kind, name in ((tuple, "$tuple"), (set, "$set"), (frozenset, "$frozenset")):
        if isinstance(value, kind):
            return {name: [_encode(item, deeper) for item in list(value)]}
    if isinstance(value, dict):
        items = list(value.items())
        if all(type(key) is str and not key.startswith("$") for key, _ in items):
            return {key: _encode(item, deeper) for key, item in items}
        return {"$dict": [[_encode(k, deeper), _encode(v, deeper)] for k, v in items]}
    raise NotData("a value of type %s is no plain data" % type(value).__name__)


def is_data(value):
    """Whether ``value`` can cross."""
    try:
        _encode(value, 0)
    except (NotData, RecursionError):
        return False
    return True


def dumps(value):
    """``value`` as bytes; NotData if it is more than plain data."""
    try:
        return json.dumps(_encode(value, 0)).encode("ascii")
    except RecursionError:
        raise NotData("it is nested too deeply") from None


def _hashable(items):
    """``items``, unless many of them have one hash: then a set of them takes for ever."""
    counts = {}
    for item in items:
        number = hash(item)
        counts[number] = counts.get(number, 0) + 1
        if counts[number] > _SAME_HASH:
            raise NotData("too many keys with the same hash")
    return items


def _pair(item):
    if not isinstance(item, list) or len(item) != 2:
        raise NotData("no pair")
    return item


def _decode(value, depth):
    if depth > 2 * DEEPEST + 4:
        raise NotData("it is nested too deeply")
    deeper = depth + 1
    if isinstance(value, list):
        return [_decode(item, deeper) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not next(iter(value)).startswith("$"):
        return {key: _decode(item, deeper) for key, item in value.items()}
    ((tag, inner),) = value.items()
    if tag in ("$int", "$bytes", "$bytearray"):
        if not isinstance(inner, str):
            raise NotData("a tag without its text")
        if tag == "$int":
            # By 16 it takes as long as the text is; by 10 it would take the square of that.
            return int(inner, 16)
        data = base64.b64decode(inner, validate=True)
        return data if tag == "$bytes" else bytearray(data)
    if not isinstance(inner, list):
        raise NotData("a tag without its list")
    if tag == "$complex":
        real, imag = _pair(inner)
        if type(real) is not float or type(imag) is not float:
            raise NotData("no complex number")
        return complex(real, imag)
    if tag == "$dict":
        pairs = [[_decode(part, deeper) for part in _pair(item)] for item in inner]
        _hashable([key for key, _ in pairs])
        return dict(pairs)
    items = [_decode(item, deeper) for item in inner]
    if tag == "$tuple":
        return tuple(items)
    if tag == "$set":
        return set(_hashable(items))
    if tag == "$frozenset":
        return frozenset(_hashable(items))
    raise NotData("an unknown tag")


def _integer(text):
    if len(text) > 20:
        raise NotData("a number that is too long")
    return int(text)


def loads(data):
    """What ``data`` holds; NotData for whatever is wrong with it."""
    try:
        return _decode(json.loads(data, parse_int=_integer), 0)
    except NotData:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        # TypeError: a list as a key, for one.
        raise NotData("no data: %s" % error) from None
