"""Images of stretches that the map does not know well."""
