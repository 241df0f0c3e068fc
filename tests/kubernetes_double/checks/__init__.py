"""What is refused and why: validation, admission, Pod Security, quotas, authentication and RBAC."""
