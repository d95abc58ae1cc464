# Written by building/gate_rules.py from core/images/__init__.py: change that.
