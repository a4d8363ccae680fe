"""Relay and records in, shared libraries out."""
