"""The cache of function results behind `joblib.Memory`.

A call passes through it like this::

    MemorizedFunc(args)         function, asynchronous  (what the user calls)
      find, or compute and keep        steps            (in which order)
        key of the call                keys, identity   (which result is meant)
        is the code still the same?    ownership        (whose results are these)
        load or store                  items            (what an entry consists of)
          files                        filesystem       (where its bytes are)

``memory`` and ``_store_backends`` hand the public names on.
"""
