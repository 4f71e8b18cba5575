"""Clips: fetched, packed, degraded, read and written."""
