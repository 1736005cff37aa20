"""Who makes features and who matches them, by name, file or description."""
