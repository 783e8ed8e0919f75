"""What the gateway's handlers work with; made once, by the composition root."""

import msgspec

from libs.catalog.versions import Versions
from libs.edge.callers import Callers
from libs.edge.streams import Streams
from libs.egress import Policy
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.runtime.postgres import Database
from libs.runtime.settings import Settings
from libs.storage.collections import Collections
from libs.storage.files import FileStore
from libs.storage.secret_values import Secrets
from libs.storage.secrets import SecretStore
from services.gateway.admission.gate import Gate
from services.gateway.cache import Cache
from services.gateway.directory import Directory
from services.gateway.gathering import Gathering
from services.gateway.read_models.deliveries import DeliveryTable
from services.gateway.read_models.runs import RunTable
from services.gateway.waiting import Waiting


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's parts."""

    settings: Settings
    broker: Broker
    tables: Database
    log: EventLog
    callers: Callers
    directory: Directory
    versions: Versions
    waiting: Waiting
    streams: Streams
    runs: RunTable
    gathering: Gathering
    gate: Gate
    cache: Cache
    files: FileStore
    secrets: SecretStore
    hook_secrets: Secrets
    """The same, as hooks read them."""
    collections: Collections
    deliveries: DeliveryTable
    policy: Policy
    """Whom callers may have told anything."""
