"""What several files of this folder need: engines with the file's images, or its stack on three nodes.

A file that needs another one has a fixture of that name itself.
"""

import pytest

from support.engines import Engines
from support.ledger import Ledger
from support.swarm import three_nodes


@pytest.fixture(scope="module")
def engines():
    with Engines() as found:
        yield found


@pytest.fixture(scope="module")
def node(request, engines):
    """One engine that has the IMAGES of the test's file."""
    engines[0].load(*request.module.IMAGES)
    return engines[0]


@pytest.fixture(scope="module")
def stack(request):
    """The stack file FILE of the test's file on three nodes."""
    # the store is not on the manager, and the last node has nothing that others need
    with three_nodes(request.module.FILE, store_on=1) as found:
        yield found


@pytest.fixture(scope="module")
def ledger(stack):
    with Ledger(stack) as found:
        yield found
