"""Maintenance of a store: its status, and garbage collection."""
