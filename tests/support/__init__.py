"""What the tests that run the real programs share. Import from here: `from support import run, wait_until`."""

from .api import Api, Response, http_exchange
from .certificates import Certificates
from .database import assert_sound, connect, stored
from .environment import ROOT, clean_environment, not_in_this_build, reference_python, sanitizer
from .fields import FIELDS, fields_from
from .frozen import FrozenProc, WholeProc
from .home import Home
from .http_server import HttpServer, answer, outcomes
from .mongodb import Ferret, mongodb_uri
from .programs import Clock, program_path, run
from .proxy import Proxy
from .waiting import scaled, wait_until

__all__ = [
    "Api", "Certificates", "Clock", "FIELDS", "Ferret", "FrozenProc", "Home", "HttpServer", "Proxy",
    "ROOT", "Response", "WholeProc", "answer", "assert_sound", "clean_environment", "connect",
    "fields_from", "http_exchange", "mongodb_uri", "not_in_this_build", "outcomes", "program_path",
    "reference_python", "run", "sanitizer", "scaled", "stored", "wait_until",
]
