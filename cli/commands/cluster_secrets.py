"""`headgate cluster-secrets`: the Secrets that a new installation on Kubernetes begins with."""

from typing import Annotated

import typer


def cluster_secrets(
    namespace: Annotated[str, typer.Option(help="Where Headgate will run.")] = "headgate",
    postgres_host: Annotated[
        str, typer.Option(help="Also make the account of a PostgreSQL of that name (overlays/dev: postgres).")
    ] = "",
) -> None:
    """Print new Secrets for Kubernetes, once for an installation: headgate cluster-secrets | kubectl create -f -

    `create` and not `apply`: it refuses to replace those that exist, for without the old master key every API key and
    every stored secret is lost.
    """
    from cli.cluster_secrets import cluster_secrets as made
    from cli.output import print_json

    print_json({"apiVersion": "v1", "kind": "List", "items": made(namespace, postgres_host=postgres_host)})
