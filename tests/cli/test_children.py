"""Children go when their parent goes, however it went; what they print goes to their log."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from cli.children import spawn
from cli.ports import is_free, next_port, random_port

PARENT = """
import sys
from cli.children import spawn
child = spawn(["sleep", "60"], env={})
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_does_not_outlive_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    handle = os.pidfd_open(int(parent.stdout.readline()))
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert not poll.poll(0)
    parent.kill()
    parent.wait()
    assert poll.poll(5000)
    os.close(handle)


def test_a_child_gets_its_environment_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert spawn(["/usr/bin/env"], env={"A": "1"}, log=log).wait() == 0
    assert log.read_text() == "before\nA=1\n"


def test_a_terminals_interrupt_does_not_reach_a_child() -> None:
    child = spawn(["sleep", "60"], env={})
    assert os.getpgid(child.pid) != os.getpgid(0)
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_ports_given_to_servers_lie_below_those_of_clients() -> None:
    port = random_port()
    assert port < 32768
    assert is_free(port)


def test_a_port_in_use_is_passed_over() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", random_port()))
        server.listen()
        taken = server.getsockname()[1]
        assert not is_free(taken)
        assert next_port(taken) > taken
        assert next_port(taken, avoid={taken + 1}) > taken + 1
