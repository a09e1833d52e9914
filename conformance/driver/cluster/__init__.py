"""Clusters of several nodes, of the real programs, under faults: see `suite.py`."""
