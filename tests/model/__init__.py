"""Explicit-state models: every course of events within bounds."""
