"""The API: routes, their declarations, requests and responses."""
