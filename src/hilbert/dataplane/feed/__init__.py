"""The route table on its way from the control process to the workers, and their counters on the way back.

`publisher` is the control process's end, `subscriber` a worker's; `messages` are the frames between them.
"""
