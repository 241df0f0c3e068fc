"""Calls `handle(req)` of function/handler.py as a view of Flask. Edit the handler, not this file."""

import os
import sys

import flask

HERE = os.path.dirname(os.path.abspath(__file__))
RAW = os.environ.get("RAW_BODY", "").lower() in ("1", "true")

# The watchdog makes this file's folder the package `function`; a handler means its own.
sys.modules["function"].__path__ = [os.path.join(HERE, "function")]
sys.path.insert(0, os.path.join(HERE, "function"))

from function.handler import handle as handle_request  # noqa: E402 - after the path to it


def handle(event, context):
    body = event.body if RAW else event.body.decode("utf-8", "replace")
    return flask.make_response(handle_request(body))
