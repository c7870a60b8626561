"""The record's fields, as record/field.def has them."""

import re

from .environment import ROOT


class Field:
    def __init__(self, name, kind, unit, source, key):
        self.name = name
        self.kind = kind
        self.unit = unit
        self.source = source
        self.key = key


def _read():
    text = (ROOT / "memory_tracker/record/field.def").read_text()
    row = r'^MT_FIELD\(\w+,\s*(\w+),\s*(\w+),\s*"([^"]*)",\s*(\w+),\s*"([^"]*)",'
    return [Field(*match) for match in re.findall(row, text, re.MULTILINE)]


FIELDS = _read()


def fields_from(*sources):
    return [field for field in FIELDS if field.source in sources]
