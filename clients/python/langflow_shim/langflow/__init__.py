"""Makes `from langflow import Client` mean Headgate's client. Not for an environment that has Langflow itself."""

from headgate_client import AsyncClient, Client, LangflowClient

__all__ = ["AsyncClient", "Client", "LangflowClient"]
