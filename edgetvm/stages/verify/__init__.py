"""Proof that records are right: each rebuilt alone and compared with its untuned computation."""
