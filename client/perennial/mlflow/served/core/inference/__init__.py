# Written by building/gate_rules.py from core/inference/__init__.py: change that.
