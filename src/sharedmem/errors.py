"""The exceptions of the library."""

from sharedmem._core.errors import (
    LayoutMismatchError,
    LocksHeldError,
    NoRoomError,
    NotHeldError,
    OwnerDiedError,
    SegmentArgumentError,
    SegmentBusyError,
    SegmentExistsError,
    SegmentFormatError,
    SegmentNameError,
    SegmentNotFoundError,
    SegmentSecurityError,
    SegmentSizeError,
    SharedmemError,
    ShareLimitError,
)

__all__ = [
    "LayoutMismatchError",
    "LocksHeldError",
    "NoRoomError",
    "NotHeldError",
    "OwnerDiedError",
    "SegmentArgumentError",
    "SegmentBusyError",
    "SegmentExistsError",
    "SegmentFormatError",
    "SegmentNameError",
    "SegmentNotFoundError",
    "SegmentSecurityError",
    "SegmentSizeError",
    "ShareLimitError",
    "SharedmemError",
]
