"""Edit this: `app` is the function, with as many routes as you like."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def greet(request):
    name = request.query_params.get("name", "world")
    return PlainTextResponse(f"Hello, {name}!\n")


app = Starlette(routes=[Route("/", greet, methods=["GET", "POST"])])
