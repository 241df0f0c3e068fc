"""Putting the platform into a cluster: manifests, and the forms they are given in.

What belongs here: pure rendering of what is installed (`plan`, `gateway`, `crds`; rights come from `rights`), the files of
`deploy/kubernetes` made from it (`files`), and `run`, which applies it. Only `run` speaks to a cluster.
"""
