# Written by building/gate_rules.py from core/__init__.py: change that.
