"""What keeps replicas apart: bubblewrap, or Landlock, or a plain process with limits; the strongest that works here.

`contract` says what a sandbox is given and what it answers. `bubblewrap` and `confined` are the sandboxes. `confine`,
`landlock` and `seccomp` run inside the starting replica, before any code of the function, so nothing is imported here.
"""
