"""A person at a terminal: types commands into an interactive bash and reads what they print."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

from .waiting import scaled

PROMPT = "typed-and-done"


class Terminal:
    """bash on a terminal of its own; Ctrl-C and questions on /dev/tty work as for a person.

    argv is what runs bash, such as a command that enters a network namespace. `transcript` has all
    that was typed and printed. A command that takes longer than timeout seconds is a failure.
    """

    def __init__(self, environment, directory, argv=(), timeout=120):
        self.transcript = ""
        self.timeout = timeout
        master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self._master = master
        self._process = subprocess.Popen(
            [*argv, "env", "--default-signal", f"--chdir={directory}", "setsid", "--ctty", "--wait",
             "bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**environment, "TERM": "dumb", "PS1": f"{PROMPT} $?\n", "PS2": "", "HISTFILE": ""},
        )
        os.close(slave)
        try:
            self._read_until(rf"{PROMPT} 0\n", 20)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def type(self, command, answers=()):
        """Types the command and waits for its end: (exit status, output).

        answers are (question, answer) for what it asks meanwhile, in that order.
        """
        self.start(command)
        output = ""
        for question, answer in answers:
            output += self._read_until(re.escape(question), self.timeout)
            self._write(answer + "\n")
        output += self._read_until(rf"{PROMPT} \d+\n", self.timeout)
        output, _, status = output.rpartition(f"{PROMPT} ")
        self.transcript += output if output.endswith("\n") or not output else output + "\n"
        return int(status), output

    def start(self, command):
        """Types the command and does not wait for its end."""
        self.transcript += f"$ {command}\n"
        self._write(command + "\n")

    def look(self):
        """Reads what has been printed by now, of a command that was started."""
        while select.select([self._master], [], [], 0)[0]:
            self.transcript += self._read()

    def interrupt(self):
        """Presses Ctrl-C and waits for the prompt; returns what was printed since."""
        self.look()
        self._write("\x03")
        output = self._read_until(rf"{PROMPT} \d+\n", self.timeout)
        self.transcript += output.rpartition(f"{PROMPT} ")[0]
        return output

    def close(self):
        """Hangs up: bash and what it started in the foreground get SIGHUP."""
        if self._master is None:
            return
        os.close(self._master)
        self._master = None
        try:
            self._process.wait(scaled(10))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _write(self, text):
        os.write(self._master, text.encode())

    def _read_until(self, pattern, timeout):
        deadline = time.monotonic() + scaled(timeout)
        text = ""
        while not re.search(pattern + r"\Z", text):
            left = deadline - time.monotonic()
            ready = select.select([self._master], [], [], max(left, 0))[0]
            assert ready, f"{self.transcript}{text}\n-- and no {pattern!r} within {timeout} s"
            text += self._read()
        return text

    def _read(self):
        return os.read(self._master, 65536).decode(errors="replace").replace("\r", "")
