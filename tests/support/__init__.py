"""What the tests that run the real programs share. Import from here: `from support import run, wait_until`."""

from .api import Api, Response, http_exchange
from .database import assert_sound, connect, stored
from .environment import ROOT, clean_environment, not_in_this_build, reference_python, sanitizer
from .fields import FIELDS, fields_from
from .frozen import FrozenProc, WholeProc
from .home import Home
from .programs import Clock, program_path, run
from .waiting import scaled, wait_until

__all__ = [
    "Api", "Clock", "FIELDS", "FrozenProc", "Home", "ROOT", "Response", "WholeProc",
    "assert_sound", "clean_environment", "connect", "fields_from", "http_exchange",
    "not_in_this_build", "program_path", "reference_python", "run", "sanitizer", "scaled",
    "stored", "wait_until",
]
