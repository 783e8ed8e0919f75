"""Tests of the flow document."""
