"""edgetvm: tune, compile, deploy and time small networks on small machines.

Importing the package loads neither PyTorch nor TVM; the stages that need them import them.
"""

__version__ = "0.1.0"
