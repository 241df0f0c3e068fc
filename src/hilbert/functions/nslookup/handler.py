"""Looks up the addresses of the host name in the request's body, as this machine resolves it."""

import socket


def handle(event, context):  # noqa: ARG001 - the platform passes both
    words = event.body.decode("utf-8", "replace").split()
    if len(words) != 1:
        return _plain("Send one host name as the request's body; this machine's own name server is asked.\n", 400)
    name = words[0]
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return _plain(f"{name} cannot be resolved: {error}\n", 404)
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    return _plain("".join([f"Name: {name}\n", *(f"Address: {address}\n" for address in addresses)]))


def _plain(text, status=200):
    return {"statusCode": status, "body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}
