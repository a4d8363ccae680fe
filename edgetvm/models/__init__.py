"""The networks: own PyTorch definitions, their weights, and whatever else MODEL may name.

One file an architecture. Nothing here imports TVM.
"""
