"""Our service, LitServe and Infinity embed the same images, one after the other."""
