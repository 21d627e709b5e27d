"""The lifetime of segments, shown by real processes and checked in the kernel."""
