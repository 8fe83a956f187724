"""Runs of the sweeps: one module a chapter, importable functions of plain parameters."""
