"""What `headgate up` shows of the logs, to people and into pipes."""

import io
import subprocess
import sys
from pathlib import Path

from cli.up.screen import Screen
from cli.up.tail import LogTail


def shown(source: str, line: str) -> str:
    pipe = io.StringIO()
    Screen(pipe).show(source, line)
    return pipe.getvalue()


def test_a_structured_line_becomes_readable() -> None:
    line = (
        '{"service": "gateway", "level": "info", "event": "run accepted",'
        ' "timestamp": "2026-01-02T03:04:05.678Z", "run_id": "run_1", "count": 2}'
    )
    assert shown("gateway-0", line) == "03:04:05 gateway-0    info     run accepted  run_id=run_1  count=2\n"


def test_a_long_line_is_not_wrapped_and_markup_means_nothing() -> None:
    assert shown("auth-0", "[red]" + "x" * 300) == "auth-0       [red]" + "x" * 300 + "\n"


def test_of_a_flood_some_lines_are_shown_and_every_one_that_asks_for_attention() -> None:
    quiet = '{"level":"info","event":"run ended","text":"\\"level\\":\\"warning\\""}'
    loud = '{"level":"warning","event":"not well","text":"\\"level\\":\\"info\\""}'
    pipe = io.StringIO()
    Screen(pipe).show_new(
        "executor-0", [*[quiet] * 3000, loud, "Traceback", *[quiet] * 5], Path("/data/executor-0.log")
    )
    told = pipe.getvalue().splitlines()
    assert [("run ended" in line, "not well" in line) for line in told[:21]] == [(True, False)] * 20 + [(False, True)]
    assert told[21:] == ["executor-0   Traceback", "executor-0   and 2985 lines more in /data/executor-0.log"]


def test_of_servers_only_trouble_is_shown() -> None:
    assert shown("postgres-0", "2026-01-01 LOG:  checkpoint starting") == ""
    assert "disk full" in shown("postgres-0", "2026-01-01 FATAL:  disk full")
    assert shown("nats-0", "[1] 2026/01/01 [INF] Server is ready") == ""
    assert "Slow Consumer" in shown("nats-0", "[1] 2026/01/01 [WRN] Slow Consumer")


def test_a_reader_that_is_gone_stops_nothing() -> None:
    code = (
        "import sys; from cli.up.screen import Screen\n"
        "screen = Screen(); screen.say('one'); sys.stdin.readline(); screen.say('two'); screen.say('three')"
    )
    speaker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert speaker.stdout is not None
    assert speaker.stdout.readline() == "one\n"
    speaker.stdout.close()
    speaker.communicate("go on\n", timeout=10)
    assert speaker.returncode == 0


def test_a_tail_yields_whole_lines_written_after_it_began(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    tail = LogTail(log)
    with log.open("a") as file:
        file.write("one\ntw")
    assert list(tail.lines()) == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert list(tail.lines()) == ["two"]


def test_a_log_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log")
    assert list(tail.lines()) == []
    (tmp_path / "log").write_text("one\n")
    assert list(tail.lines()) == ["one"]


def test_a_log_that_has_grown_too_large_is_cut_and_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("a") as writer:
        tail = LogTail(log)
        log.write_bytes(b"x" * 1023 + b"\n")
        with log.open("r+b") as file:
            file.truncate(64 * 1024 * 1024)
            file.seek(0, io.SEEK_END)
            file.write(b"\nlast\n")
        while log.stat().st_size:
            list(tail.lines())
        writer.write("next\n")
        writer.flush()
        assert list(tail.lines()) == ["next"]
    assert (tmp_path / "log.1").read_bytes().endswith(b"last\n")
