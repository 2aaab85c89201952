"""Which network is handed to which stage: the only folder that makes them.

A stage takes a picklable `build` and the identity of what it builds; search takes an embedder. The networks speak
torch, the stages NumPy; the small adapters between them are here too.
"""
