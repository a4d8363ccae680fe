"""Figures of the papers, and measured latencies beside them."""
