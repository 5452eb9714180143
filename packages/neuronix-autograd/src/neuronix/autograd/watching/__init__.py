"""Blocks in which each operation is watched as it is computed, or what it saves is kept elsewhere."""
