"""A small event loop over epoll, for processes whose start is too short to import asyncio.

`interface` says which part of `asyncio.AbstractEventLoop` is used, `loop` implements it, `transport` is one connection.
Nothing is imported here: whoever runs on asyncio's loop pays for the interface alone.
"""
