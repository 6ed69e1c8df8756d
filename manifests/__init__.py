"""The records that enter and leave: manifests, units, result rows, the store, claims, documents."""
