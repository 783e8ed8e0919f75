"""The Secrets of an installation on Kubernetes, made anew: what `k8s/` refers to and no repository may hold.

NATS's users have nkeys: each service's seed lies in a Secret that only its pods mount, and what the servers need to
know of them are the public keys, in one Secret of their own.
"""

import base64
import secrets
from typing import Any

from libs.events.nkeys import new_user

USERS = ("gateway", "auth", "executor", "notifier", "migrate", "operator")
"""NATS's users: the services, and a person who backs up and repairs."""

_DATABASE = "headgate"


def cluster_secrets(namespace: str, *, postgres_host: str = "") -> list[dict[str, Any]]:
    """Every Secret as Kubernetes takes it; with `postgres_host`, also that of the PostgreSQL of `overlays/dev`."""
    keys = {user: new_user() for user in USERS}
    public = {f"NKEY_{user.upper()}": key.public for user, key in keys.items()}
    found = [
        _secret(namespace, "headgate-master", {"key": base64.b64encode(secrets.token_bytes(32)).decode()}),
        _secret(namespace, "headgate-admin", {"key": f"sk-{secrets.token_hex(24)}"}),
        _secret(namespace, "headgate-nats-users", public),
    ]
    found += [_secret(namespace, f"headgate-nats-{user}", {"seed": key.seed}) for user, key in keys.items()]
    if postgres_host:
        found.append(_secret(namespace, "headgate-postgres-app", _account(postgres_host)))
    return found


def _account(host: str) -> dict[str, str]:
    """The same entries as CloudNativePG's own Secret has."""
    password = secrets.token_hex(24)
    uri = f"postgresql://{_DATABASE}:{password}@{host}:5432/{_DATABASE}"
    return {"username": _DATABASE, "password": password, "dbname": _DATABASE, "host": host, "uri": uri}


def _secret(namespace: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "headgate"}},
        "type": "Opaque",
        "stringData": data,
    }
