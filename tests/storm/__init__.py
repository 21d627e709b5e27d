"""Processes that create, attach, send, receive, drop, replace, unlink, fork and kill one another.

``make storm SECONDS=60 SEED=1``. Every byte of every array is a function of the
array's serial number, so whoever gets one can tell whether it is the right one;
and a ledger outside the library says which arrays must still be there.

A storm is a number of rounds. Each has a host process, whose children by
``multiprocessing`` are the actors, one for each slot; who dies is replaced. The
program itself does not use the library: it watches, kills, and judges what is left.
"""
