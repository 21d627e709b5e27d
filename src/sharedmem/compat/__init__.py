"""Interfaces of older packages over this one's arrays."""
