"""What a service process asks of the machine before anything else."""

import resource
import subprocess
import sys
import time
from pathlib import Path

SOFT = 256


def test_a_service_may_open_as_many_files_as_the_system_lets_it() -> None:
    """Thousands of streams are thousands of files, whatever the limit of the shell that it was started from."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = subprocess.Popen(
        [sys.executable, "-m", "services.notifier"],
        env={"HEADGATE_NATS_URL": "nats://127.0.0.1:1"},
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, most)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while _limit(process.pid) != most:
            assert process.poll() is None
            assert time.monotonic() < deadline, _limit(process.pid)
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def _limit(pid: int) -> int:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))
