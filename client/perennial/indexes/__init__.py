"""Indexes of vectors in PostgreSQL or Qdrant: filled by versions of a model, and searched.

The client connects to the store; the service learns neither its address nor its password. What
comes after what, and what an interruption leaves, is in docs/adr/0051.
"""
