"""Restoring frames: in a precision and mode, data sets, own videos."""
