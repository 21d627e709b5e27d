"""The exceptions of the library."""

from sharedmem._core.errors import (
    LayoutMismatchError,
    NoRoomError,
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
    ShutDown,
)

__all__ = [
    "LayoutMismatchError",
    "NoRoomError",
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
    "ShutDown",
]
