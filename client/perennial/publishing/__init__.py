"""Versions as folders for others: files, a model card and a signature, in a place or on a hub."""
