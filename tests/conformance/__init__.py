"""Every cross-cutting property, over every primitive, search space and method: `cases` is the one list of them."""
