"""Clients of a deployed stack: its API (`service` over `http`) and AWS (`aws`)."""
