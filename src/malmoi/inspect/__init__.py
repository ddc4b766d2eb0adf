"""Figures of what was measured: from records, plain dicts, never from models."""
