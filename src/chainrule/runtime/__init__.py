"""The runtime: machine code + arrays -> arrays, also for many steps in one call.

Receives: a step's graph and the data. Returns: the carry after any number of steps. Next:
`training` drives it.
"""
