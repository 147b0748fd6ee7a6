"""Measurements that are compared with a bar, each run by a target of the Makefile."""
