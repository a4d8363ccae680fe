"""One module a runtime.

Each has ``convert(job)``, which writes what the runtime loads into the job's folder, and
``load(job, data)``, which sets the input and gives a `Loaded`. Each step is called in a process
of its own.
"""
