"""The production overlay's own commands, environment, files, users and probes, on a three-node NATS with TLS."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import nats.errors
import pytest
from nats.aio.client import Client

from cli.ports import random_port
from libs.events.access import Access
from tests.e2e.caller import until
from tests.e2e.flows import chain, output, template
from tests.e2e.model import model
from tests.k8s import confined
from tests.k8s.balancer import Balancer, balancing
from tests.k8s.cluster import Cluster, cluster
from tests.k8s.manifests import named, of_kind
from tests.k8s.pod import Pod
from tests.k8s.rollout import roll
from tests.k8s.tour import Visitor, deployed, tour
from tests.k8s.traffic import Traffic, traffic

SERVICES = ("auth", "executor", "notifier", "gateway")
EACH = 2
WORDS = [f"word{number} " for number in range(30)]


class Running:
    """A cluster with two pods of each service, and a model server's place."""

    def __init__(self, found: Cluster, servers: list[Pod], services: dict[str, list[Pod]], model_port: int) -> None:
        self.cluster = found
        self.servers = servers
        self.services = services
        self.model_port = model_port

    @property
    def admin_key(self) -> str:
        return self.cluster.secrets["headgate-admin"]["key"].decode()

    def url(self, service: str, index: int = 0) -> str:
        pod = self.services[service][index]
        return f"http://{pod.address}:{pod.container['ports'][0]['containerPort']}"


@pytest.fixture(scope="module")
def running(postgres: str) -> Iterator[Running]:
    """Everything, started as on an empty cluster: services wait for the Job. A model is an operator's Secret away."""
    model_port = random_port()
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), postgres) as found:
        found.secrets["headgate-providers"] = {"OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1".encode()}
        servers = found.nats()
        services = {
            service: [found.pod("Deployment", service, f"{service}-{index}") for index in range(EACH)]
            for service in SERVICES
        }
        pods = [pod for each in services.values() for pod in each]
        for pod in pods:
            pod.start()
        found.migrate()
        made = Running(found, servers, services, model_port)
        for pod in pods:
            pod.wait("startupProbe")
            _ready(pod, made)
            assert pod.probe("livenessProbe")
        yield made


def _ready(pod: Pod, running: Running) -> None:
    try:
        pod.wait("readinessProbe", 30)
    except AssertionError as error:
        pytest.fail(f"{error}\n" + "\n".join(violations(running)))


@asynccontextmanager
async def visiting(running: Running) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield Visitor(session, running.url("gateway"), running.admin_key)


async def test_no_service_does_what_its_user_may_not(running: Running) -> None:
    async with model(running.model_port, WORDS, pause_seconds=0.02), visiting(running) as visitor:
        try:
            quick, slow = await deployed(visitor)
            await tour(visitor, running.url("notifier"), quick, slow)
        finally:
            if refused := violations(running):
                pytest.fail("k8s/overlays/production/nats/users.conf lacks what is needed:\n" + "\n".join(refused))


def violations(running: Running) -> list[str]:
    """What the servers refused: whose user it was, and what it would have said or heard."""
    users = users_by_key(running)
    found = set()
    for server in running.servers:
        for line in server.log.read_text().splitlines():
            if "Violation" in line:
                found.add(re.sub(r".*nkey:(\w+).*?- (.*)", lambda m: f"{users[m[1]]}: {m[2]}", line))
    return sorted(found)


async def test_tables_are_made_anew_from_within_a_gateway_s_pod(running: Running) -> None:
    made = await asyncio.to_thread(running.services["gateway"][0].exec, "headgate", "projections", "rebuild", "--json")
    assert json.loads(made)["same"] is not False
    assert violations(running) == []


async def test_executors_are_scaled_by_what_gateways_measure(running: Running) -> None:
    (scaled,) = of_kind(running.cluster.manifests, "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    (metric, consumer) = re.findall(r'(headgate_\w+)\{consumer="(\w+)"\}', query)[0]
    settings = next(
        e["data"] for e in of_kind(running.cluster.manifests, "ConfigMap") if "HEADGATE_STREAMS" in e["data"]
    )
    streams = {f"EVENTS_{index}" for index in range(int(settings["HEADGATE_STREAMS"]))}

    async def measured() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{running.url('gateway')}/metrics") as answer:
            text = await answer.text()
        return streams <= set(re.findall(rf'^{metric}{{consumer="{consumer}",stream="(\w+)"}} ', text, re.MULTILINE))

    await until(measured, 30)


def test_nothing_is_written_but_where_a_volume_is(running: Running) -> None:
    if not confined.available():
        pytest.skip("this kernel has no Landlock: nothing keeps processes from writing")
    for pod in [pod for each in running.services.values() for pod in each]:
        told = pod.log.read_text()
        assert "Permission" not in told, told
        assert "Traceback" not in told, told


def users_by_key(running: Running) -> dict[str, str]:
    """Whose public key it is."""
    public = running.cluster.secrets["headgate-nats-users"]
    return {key.decode(): name.removeprefix("NKEY_").lower() for name, key in public.items()}


FORBIDDEN = {
    "gateway": (
        *("$JS.API.STREAM.DELETE.EVENTS_0", "$JS.API.STREAM.PURGE.EVENTS_0", "$JS.API.STREAM.UPDATE.EVENTS_0"),
        *("$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.MSG.DELETE.MANAGEMENT", "$JS.API.STREAM.SNAPSHOT.MANAGEMENT"),
        *("$JS.API.CONSUMER.DELETE.EVENTS_0.executors", "$JS.API.CONSUMER.MSG.NEXT.EVENTS_0.executors"),
        *("mgt.ws_root.key.key_x", "mgt.ws_root.workspace.ws_root", "auth.changed", "dlv.ws_root", "tmr.at.delivery.x"),
        *("live.evt.0.ws_root.run_x.ended", "_INBOX.auth.x", "$SYS.REQ.SERVER.PING", "anything"),
    ),
    "auth": (
        *("evt.0.ws_root.run_x.requested", "mgt.ws_root.flow.flow_x", "ans.gateway.run_x", "auth.verify", "cmd.cancel"),
        *("$JS.API.DIRECT.GET.EVENTS_0", "$JS.API.STREAM.MSG.GET.EVENTS_0", "$JS.API.STREAM.UPDATE.MANAGEMENT"),
    ),
    "executor": (
        *("evt.0.ws_root.run_x.requested", "evt.0.ws_root.run_x.held", "mgt.ws_root.key.key_x", "auth.manage"),
        *("auth.verify", "$JS.API.DIRECT.GET.MANAGEMENT.mgt.ws_root.key.key_root", "$JS.API.STREAM.MSG.GET.MANAGEMENT"),
        *(
            "$JS.API.CONSUMER.CREATE.MANAGEMENT",
            "$JS.API.STREAM.PURGE.EVENTS_0",
            "dead.notifier-ends.evt",
            "dlv.ws_root",
        ),
    ),
    "notifier": (
        *(f"evt.0.ws_root.run_x.{kind}" for kind in ("held", "requested", "progress", "ended")),
        *("mgt.ws_root.key.key_x", "mgt.ws_root.deployment.x", "auth.manage", "$JS.API.STREAM.PURGE.EVENTS_0"),
        *("$JS.API.CONSUMER.MSG.NEXT.EVENTS_0.executors", "$JS.ACK.EVENTS_0.executors.1.1.1.1.1", "ses.ws_root.s.f"),
    ),
    "migrate": (
        *("evt.0.ws_root.run_x.requested", "mgt.ws_root.key.key_x", "$JS.API.STREAM.DELETE.EVENTS_0"),
        *("$JS.API.STREAM.PURGE.EVENTS_0", "$JS.API.STREAM.MSG.GET.MANAGEMENT", "$JS.API.CONSUMER.CREATE.MANAGEMENT"),
    ),
}
"""What a service that was broken into would want to say."""

UNHEARD = {
    "gateway": (">", "_INBOX.>", "_INBOX.auth.>", "auth.verify", "evt.>", "$SYS.>", "$JS.API.>"),
    "auth": (">", "_INBOX.gateway.>", "live.evt.>", "evt.>"),
    "executor": (">", "_INBOX.gateway.>", "auth.verify", "live.evt.>", "evt.>", "ans.*.*"),
    "notifier": (">", "_INBOX.gateway.>", "auth.verify", "auth.manage", "ans.*.*", "evt.>"),
    "migrate": (">", "_INBOX.gateway.>", "evt.>", "live.evt.>"),
}


@asynccontextmanager
async def connected(running: Running, access: Access, told: list[str]) -> AsyncIterator[Client]:
    """A plain client with somebody's access; what the server tells it goes to `told`."""

    async def failed(error: Exception) -> None:
        told.append(str(error))

    client, key = Client(), access.key()
    client._public_nkey = None if key is None else key.public
    await client.connect(
        running.cluster.nats_urls.split(","),
        tls=access.tls(),
        signature_cb=None if key is None else key.sign,
        inbox_prefix=access.inboxes.encode(),
        error_cb=failed,
        allow_reconnect=False,
        connect_timeout=5,
    )
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_a_user_can_say_and_hear_nothing_beyond_its_work(running: Running, user: str) -> None:
    told: list[str] = []
    async with connected(running, running.cluster.access(user), told) as client:
        for subject in FORBIDDEN[user]:
            await client.publish(subject, b"{}")
        for subject in UNHEARD[user]:
            await client.subscribe(subject)
        expected = {f'publish to "{subject}"'.lower() for subject in FORBIDDEN[user]}
        expected |= {f'subscription to "{subject}"'.lower() for subject in UNHEARD[user]}

        async def refused() -> bool:
            return {each.rpartition("violation for ")[2] for each in told} >= expected

        await until(refused, 10)


@pytest.mark.parametrize(
    "wrong",
    [{"nkey": ""}, {"nkey": "another"}, {"authorities": "another"}],
    ids=["no key", "a key that nobody knows", "an authority that did not sign"],
)
async def test_nobody_else_is_let_in(running: Running, wrong: dict[str, str]) -> None:
    from cli.cluster_secrets import cluster_secrets
    from tests.k8s.certificates import tls_secret

    access = running.cluster.access("gateway")
    nkey = next(each for each in cluster_secrets("x") if "seed" in each["stringData"])["stringData"]["seed"]
    authorities = tls_secret(["nats"], ["127.0.0.1"], ["server auth"])["ca.crt"].decode()
    changed = {"nkey": nkey if wrong.get("nkey") else wrong.get("nkey", access.nkey)}
    changed["authorities"] = authorities if "authorities" in wrong else access.authorities
    with pytest.raises((nats.errors.Error, OSError)):
        async with connected(running, Access(inboxes=access.inboxes, **changed), []):
            pass


async def test_while_the_log_is_away_nothing_is_accepted_and_nobody_is_restarted(running: Running) -> None:
    pods = [pod for each in running.services.values() for pod in each]
    away = running.servers[1:]
    async with visiting(running) as visitor:
        quick = await visitor.deploy(chain(template("say", "said: {{ in.text }}"), output("{{ say.text }}")))
        await asyncio.to_thread(away[0].before_stop)
        await until(partial(_logged, away[0], "lame duck"), 10)
        for server in away:
            server.kill()
        refused = await visitor.run(quick, expect=503)
        assert refused["code"] == "unavailable"
        assert all([await asyncio.to_thread(pod.probe, "livenessProbe") for pod in pods])
        for server in away:
            server.start()
        for server in away:
            await asyncio.to_thread(server.wait, "startupProbe")
        await until(partial(_answers, visitor, quick), 30)
    assert [pod.process is not None and pod.process.poll() for pod in pods] == [None] * len(pods)


async def _logged(pod: Pod, words: str) -> bool:
    return words in pod.log.read_text()


async def _answers(visitor: Visitor, deployment: str) -> bool:
    try:
        return (await visitor.run(deployment))["output"] == "said: x"
    except AssertionError:
        return False


async def test_a_rolling_restart_of_everything_fails_no_request(running: Running) -> None:
    found = running.cluster
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(model(running.model_port, WORDS, pause_seconds=0.1))
        balancers: dict[str, Balancer] = {}
        for service in ("gateway", "notifier"):
            spec = named(found.manifests, "Service", service)["spec"]
            (port,) = running.services[service][0].container["ports"]
            balancer = await stack.enter_async_context(
                balancing(found.address(service), random_port(), port["containerPort"])
            )
            assert spec["ports"][0]["targetPort"] == port["name"]
            for pod in running.services[service]:
                balancer.add(pod)
            balancers[service] = balancer
        async with visiting(running) as visitor:
            quick, slow = await deployed(visitor)
            for index in range(EACH):
                await until(partial(visitor.at(running.url("gateway", index)).knows, quick, slow))
        load = Traffic(balancers["gateway"].url, balancers["notifier"].url, running.admin_key, quick=quick, slow=slow)
        async with traffic(load, callers=3), asyncio.TaskGroup() as group:
            for service in SERVICES:
                group.create_task(_rolled(running, service, balancers.get(service)))
    if load.failures:
        pytest.fail(
            f"{len(load.failures)} of {sum(load.done.values())}:\n" + "\n".join(sorted(set(load.failures))[:12])
        )
    assert min(load.done[kind] for kind in ("synchronous", "waiting", "polled", "followed", "managed")) > 3, load.done
    assert [each.refused for each in balancers.values()] == [0, 0]


async def _rolled(running: Running, service: str, balancer: Balancer | None) -> None:
    pods = running.services[service]
    numbers = iter(range(EACH, 2 * EACH))
    make = partial(_next_pod, running.cluster, service, numbers)
    running.services[service] = await roll(
        named(running.cluster.manifests, "Deployment", service), pods, make, balancer
    )


def _next_pod(found: Cluster, service: str, numbers: Iterator[int]) -> Pod:
    return found.pod("Deployment", service, f"{service}-{next(numbers)}")
