"""All that knows a storage, or what is in a file."""
