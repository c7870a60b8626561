"""The blocks of code in the documents, and who runs them.

A ```console block, commands after `$ ` and what they print, is run by tests/docs. A fence that says
`typed on a Swarm`, or at another place, is typed there by tests/containers/test_readme.py. Any other
```sh block has in its fence the reason why it is not run.
"""

import re
import subprocess
from typing import NamedTuple

from .environment import ROOT

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGES.md",
             *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
FENCE = re.compile(r"^```(\w*) *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# where tests/containers/test_readme.py types
PLACES = ("a laptop", "the builder", "a Swarm", "a Swarm without MongoDB")
TYPED = re.compile(r"typed (?:on|at) ([^,]+)(?:, (.+))?")


class Block(NamedTuple):
    document: str
    language: str
    reason: str
    text: str

    @property
    def place(self):
        """Where the block is typed, such as "a Swarm"; None for one that is not."""
        typed = TYPED.fullmatch(self.reason)
        return typed and typed.group(1)

    @property
    def how(self):
        """What the fence says behind the place, such as "and left running"."""
        typed = TYPED.fullmatch(self.reason)
        return typed and typed.group(2)

    def commands(self):
        """(command, expected output) of each; in a sh block the output may be anything."""
        return commands(self.text) if self.language == "console" else [
            (command, "") for command in lines(self.text)]


def blocks(document):
    return [Block(document, *found) for found in FENCE.findall((ROOT / document).read_text())]


def typed_blocks(place, documents=tuple(DOCUMENTS)):
    """All that is typed there, in the order of the documents."""
    return [block for document in documents for block in blocks(document) if block.place == place]


def commands(text):
    """(command, expected output) of a console block; a command may go on after a backslash."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:[^\n]*\\\n)*[^\n]*\n", part).group()
        found.append((command.strip(), part[len(command):]))
    assert found, text
    return found


def lines(text):
    """The commands of a sh block, as a shell would read them line by line; no comments."""
    found = []
    unfinished = ""
    for line in text.splitlines(keepends=True):
        unfinished += line
        if not is_unfinished(unfinished):
            found.append(unfinished.strip())
            unfinished = ""
    assert not unfinished, unfinished
    return [command for command in found if command and not command.startswith("#")]


def is_unfinished(command):
    """Whether a shell waits for more: a quote, a loop, a here-document, a backslash at the end."""
    done = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False)
    return done.returncode != 0 or done.stderr != "" or command.endswith("\\\n")


def matches(expected, printed):
    """Whether that was printed; `...` in what was expected stands for anything."""
    pattern = re.escape(expected.strip()).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
