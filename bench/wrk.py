"""wrk as the generator of load, where it is installed: one thread of C, which takes next to nothing from the machine.

It counts every answer by its status; that runs are really run is seen in what the log holds afterwards. Headers and
body go to it in a script that only we can read, for the arguments of a process are for everybody to read.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec

from bench.load import Load, LoadError, Order

HOW_TO_GET_IT = "wrk is not installed (Debian and Ubuntu: apt-get install wrk; macOS: brew install wrk)"

_GRACE_SECONDS = 20.0
_SCRIPT = """\
wrk.method = "POST"
wrk.body = {body}
{headers}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{{"requests":%d,"seconds":%f,"bad":%d,"p50":%f,"p99":%f}}\\n', summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class _Summary(msgspec.Struct, frozen=True):
    requests: int
    seconds: float
    bad: int
    p50: float
    p99: float


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def suits(order: Order) -> bool:
    """Whether wrk can carry out the order: its times are whole seconds."""
    return available() and order.seconds >= 1 and order.seconds == int(order.seconds)


def generate(order: Order) -> Load:
    """Carry out the order, after a second of warming up. LoadError when wrk fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_script(order))
        script.flush()
        warm, _ = _run(order, 1, Path(script.name))
        summary, cpu_seconds = _run(order, int(order.seconds), Path(script.name))
    return Load(
        answered=warm.requests + summary.requests,
        counted=summary.requests - summary.bad,
        failures=warm.bad + summary.bad,
        seconds=summary.seconds,
        p50_milliseconds=summary.p50,
        p99_milliseconds=summary.p99,
        cpu_seconds=cpu_seconds * (1 + 1 / order.seconds),
    )


def _run(order: Order, seconds: int, script: Path) -> tuple[_Summary, float]:
    url = f"http://127.0.0.1:{order.port}{order.path}"
    command = ["wrk", "-t1", f"-c{order.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    timed = ["/bin/sh", "-c", '"$@"; times', "sh", *command]
    done = subprocess.run(timed, capture_output=True, timeout=seconds + _GRACE_SECONDS, check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    found = [line for line in lines if line.startswith('{"requests"')]
    if done.returncode != 0 or not found:
        raise LoadError((done.stdout + done.stderr).decode(errors="replace")[-2000:])
    return msgspec.json.decode(found[0], type=_Summary), _children_seconds(lines[-1])


def _children_seconds(line: str) -> float:
    """What the shell's `times` says of its children: `0m1.23s 0m0.45s`, user and system."""
    total = 0.0
    for word in line.split():
        minutes, _, seconds = word.rstrip("s").partition("m")
        total += int(minutes) * 60 + float(seconds)
    return total


def _script(order: Order) -> str:
    headers = {"Content-Type": "application/json", **order.headers}
    lines = [f"wrk.headers[{_quoted(name)}] = {_quoted(value)}" for name, value in headers.items()]
    return _SCRIPT.format(body=_quoted(order.body), headers="\n".join(lines))


def _quoted(text: str) -> str:
    """A Lua string: every byte that is not plain as `\\ddd`."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03d}" for byte in text.encode())
    return f'"{"".join(plain)}"'
