"""sharedmem's own cases, classes in asv's form; peers have classes of the same names."""
