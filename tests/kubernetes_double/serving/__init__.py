"""HTTP: a request is read, routed, answered in the form it asks for, or watched."""
