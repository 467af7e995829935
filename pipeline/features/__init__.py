"""Stores of features: a folder, an object store, and the layouts that others released."""
