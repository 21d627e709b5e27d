"""What ``python -m sharedmem`` runs."""

from __future__ import annotations

import sys

from sharedmem.cli import main

if __name__ == "__main__":
    sys.exit(main())
