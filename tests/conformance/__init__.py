"""Every cross-cutting property, over every primitive, search space and method: `helpers/cases.py` is their list."""
