"""From a spec or a namespace's annotations to objects of the cluster. Pure."""
