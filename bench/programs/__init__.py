"""Programs that are measured as a whole, each in a new process; the last line they print is JSON.

They ask for BENCH_CORES themselves, so that they can also be run by hand.
"""
