"""Relay in, tuning records out: AutoScheduler's search over the network's tasks."""
