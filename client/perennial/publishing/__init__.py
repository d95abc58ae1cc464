"""Versions as folders for others: files, a model card, a bill of materials, a signature."""
