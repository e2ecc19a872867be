"""All that knows a request or a response."""
