"""Providers of models, each beside a server that speaks its protocol."""
