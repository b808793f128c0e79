"""The cache of function results behind `joblib.Memory`.

A call passes through it like this::

    MemorizedFunc(args)       function, asynchronous   (what the user calls)
      -> key of the arguments        identity          (which result is meant)
      -> is the code still the same? ownership         (whose results are these)
      -> load, or compute and store  items             (what an entry consists of)
           -> files                  filesystem, store (where its bytes are)

``memory`` and ``_store_backends`` hand the public names on.
"""
