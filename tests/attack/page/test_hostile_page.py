"""Pages that want the administrator's rights: a function's, another site's, and one whose name was made to lead here.

After each attack nothing was read and nothing has changed. The kinds are known from elsewhere: a page that drives a local
daemon by DNS rebinding (CVE-2018-5702, Transmission), and one that makes requests with the user's saved rights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from support.site import NAME, Site

from .conftest import EVIL, sign_in

HOSTS = [NAME, "127.0.0.1"]
"""Plain HTTP under a name, where a browser says little of itself, and this machine, where it trusts and tells more."""

DEPLOY = json.dumps({"service": "stolen", "image": "evil:1", "secrets": ["treasure"]})

STEAL = """<!doctype html><body><script>
(async () => {
  const found = {};
  const attempt = async (name, work) => { try { found[name] = await work(); } catch (error) { found[name] = "!" + error.name; } };
  const text = async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`;
  const deploy = DEPLOY;
  for (const credentials of ["same-origin", "include"]) {
    await attempt("read " + credentials, async () => text(await fetch("/system/secrets", { credentials })));
    await attempt("blind read " + credentials, async () => text(await fetch("/system/secrets", { credentials, mode: "no-cors" })));
    await attempt("json " + credentials, async () => text(await fetch("/system/functions", {
      method: "POST", credentials, body: deploy, headers: { "Content-Type": "application/json" } })));
    await attempt("plain " + credentials, async () => text(await fetch("/system/functions", {
      method: "POST", credentials, mode: "no-cors", body: deploy })));
  }
  await attempt("storage", async () => sessionStorage.getItem("hilbert.authorization") || "nothing");
  await attempt("cookies", async () => document.cookie);
  await attempt("worker", async () => { await navigator.serviceWorker.register("sw.js", { scope: "/" }); return "registered"; });
  await attempt("frame", async () => {
    const frame = document.createElement("iframe"); frame.src = "/ui/"; document.body.append(frame);
    await new Promise((done) => { frame.onload = done; });
    return frame.contentDocument ? frame.contentDocument.body.innerText : "closed";
  });
  await attempt("window", async () => {
    const other = window.open("/ui/"); await new Promise((done) => setTimeout(done, 500));
    return other ? other.document.body.innerText : "closed";
  });
  document.title = "done"; document.body.dataset.found = JSON.stringify(found);
})();
</script>""".replace("DEPLOY", json.dumps(DEPLOY))


def results(page: Any) -> dict[str, str]:
    page.wait_for_function("document.title === 'done'")
    found: dict[str, str] = json.loads(page.evaluate("document.body.dataset.found"))
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_a_functions_page_beside_a_signed_in_administrator(site: Site, context: Any, host: str) -> None:
    sign_in(context, site, host)
    name = site.function(STEAL, headers="Service-Worker-Allowed: /")
    page = context.new_page()
    page.goto(site.url(f"/function/{name}/", host))
    found = results(page)
    for what, got in found.items():
        assert "treasure" not in got, what
        assert "victim" not in got, what
        assert "hilbert" not in got.lower(), what
        assert not got.startswith("basic 20"), what
    assert found["storage"] == "!SecurityError"
    assert found["worker"].startswith("!")
    assert site.unchanged()


@pytest.mark.parametrize("host", HOSTS)
def test_the_same_script_from_an_inner_frame_and_other_kinds_of_documents(site: Site, context: Any, host: str) -> None:
    sign_in(context, site, host)
    script = "fetch('/system/secrets').then((a) => a.text()).then((t) => { document.title = t })"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>{script}; sessionStorage.length</script></svg>'
    xml = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script>{script}</script></body></html>'
    for kind, body in (
        ("image/svg+xml", svg),
        ("application/xhtml+xml", xml),
        ("text/xml", xml),
        ("unknown/unknown", f"<html><script>{script}</script>"),
        (
            "text/html; charset=utf-8",
            f'<iframe srcdoc="<script>{script.replace("document.title", "parent.name")}</script>"></iframe>',
        ),
    ):
        name = site.function(body, headers=f"Content-Type: {kind}")
        page = context.new_page()
        requests: list[int] = []
        page.on("response", lambda answer, seen=requests: "/system/" in answer.url and seen.append(answer.status))
        page.goto(site.url(f"/function/{name}", host), wait_until="networkidle")
        assert "treasure" not in page.content()
        assert 200 not in requests, kind
        assert page.evaluate("self.origin") == "null", kind
        page.close()
    assert site.unchanged()


def test_a_form_of_a_functions_page(site: Site, context: Any) -> None:
    sign_in(context, site)
    field = DEPLOY[:-1].replace('"', "&quot;") + ", &quot;x&quot;: &quot;"
    name = site.function(
        f'<form method="post" action="/system/functions" enctype="text/plain"><input name="{field}" value="&quot;}}"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    page = context.new_page()
    page.goto(site.url(f"/function/{name}"))
    page.wait_for_url("**/system/functions")
    assert "may not change anything here" in page.content() or "invalid credentials" in page.content()
    assert site.unchanged()


@pytest.fixture
def evil() -> Iterator[Any]:
    """Another site; its pages by path are the test's to set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = server.pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pages = {}
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("password", [True, False])
def test_another_site(site: Site, open_site: Site, context: Any, evil: Any, host: str, password: bool) -> None:
    target = site if password else open_site
    if password:
        sign_in(context, target, host)
    api = target.url("/system/functions", host if password or host != NAME else "127.0.0.1")
    field = DEPLOY[:-1].replace('"', "&quot;") + ", &quot;x&quot;: &quot;"
    evil.pages["/form"] = (
        f'<form method="post" action="{api}" enctype="text/plain"><input name="{field}" value="&quot;}}"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    evil.pages["/fetch"] = (
        "<body><script>(async () => { const got = [];"
        f"for (const [url, options] of [['{api}', {{ method: 'POST', mode: 'no-cors', credentials: 'include', body: {json.dumps(DEPLOY)} }}],"
        f"['{api}', {{ credentials: 'include' }}], ['{api}', {{ mode: 'no-cors', credentials: 'include' }}],"
        f"['{api}', {{ method: 'DELETE', credentials: 'include', body: '{{}}' }}]]) "
        "{ try { const a = await fetch(url, options); got.push(a.type + a.status + await a.text()) } catch (e) { got.push('!') } }"
        "document.body.dataset.found = JSON.stringify(got); document.title = 'done' })()</script>"
    )
    page = context.new_page()
    port = evil.server_address[1]
    page.goto(f"http://{EVIL}:{port}/form")
    page.wait_for_url("**/system/functions")
    page.goto(f"http://{EVIL}:{port}/fetch")
    page.wait_for_function("document.title === 'done'")
    assert "victim" not in page.evaluate("document.body.dataset.found")
    assert target.unchanged()


@pytest.mark.parametrize("password", [True, False])
def test_a_name_of_a_stranger_that_leads_here(site: Site, open_site: Site, context: Any, password: bool) -> None:
    """DNS rebinding: the page came from the stranger's server, and now its own origin is the gateway."""
    target = site if password else open_site
    page = context.new_page()
    start = target.url("/start", EVIL)
    context.route(start, lambda route: route.fulfill(content_type="text/html", body=STEAL))
    page.goto(start)
    found = results(page)
    for what in ("read include", "read same-origin", "json include", "json same-origin"):
        assert "treasure" not in found[what]
        assert found[what].startswith(("basic 401", "basic 403", "basic 421")), found[what]
    assert target.unchanged()


def test_a_service_worker_cannot_forge_another_functions_page(site: Site, context: Any) -> None:
    victim = site.function("<h1>the true page</h1>")
    worker = "self.onfetch = (e) => e.respondWith(new Response('<h1>forged</h1>', { headers: { 'Content-Type': 'text/html' } }))"
    attacker = site.function(
        "<script>(async () => navigator.serviceWorker.register('sw.js', { scope: '/' }))()"
        ".then(() => { document.title = 'yes' }, (e) => { document.title = 'no ' + e.name })</script>",
        paths={"/sw.js": (worker, "Content-Type: text/javascript\nService-Worker-Allowed: /")},
    )
    page = context.new_page()
    page.goto(site.url(f"/function/{attacker}/", "127.0.0.1"))
    page.wait_for_function("document.title !== ''")
    assert page.title().startswith("no ")
    page.goto(site.url(f"/function/{victim}", "127.0.0.1"))
    assert "the true page" in page.content()


@pytest.mark.parametrize("host", HOSTS)
def test_what_a_function_answers_does_not_touch_the_session_or_the_host(site: Site, context: Any, host: str) -> None:
    administrator = sign_in(context, site, host)
    name = site.function(
        "<p>hello</p>",
        headers='Clear-Site-Data: "*"\nSet-Cookie: a=1; Path=/\nSet-Cookie: b=2\n'
        'Strict-Transport-Security: max-age=9999\nAlt-Svc: h2="evil.test:443"',
    )
    page = context.new_page()
    page.goto(site.url(f"/function/{name}", host))
    page.goto(site.url(f"/function/{name}/again", host))
    assert b"a=1; b=2" in {key.lower(): value for key, value in site.calls()[-1].head.headers}.get(b"cookie", b"")
    other = site.function("<p>other</p>")
    page.goto(site.url(f"/function/{other}", host))
    assert b"cookie" not in {key.lower() for key, _ in site.calls()[-1].head.headers}
    administrator.reload()
    administrator.wait_for_selector("text=victim:1")


def test_a_password_is_never_given_to_a_function(site: Site, context: Any) -> None:
    """Not even by a browser that answers every request for one."""
    sign_in(context, site)
    name = site.function("<p>hello</p>", headers='WWW-Authenticate: Basic realm="Restricted"')
    page = context.new_page()
    for path in ("/", "/nothing", "/system/info", f"/function/{name}", f"/function/{name}/x"):
        page.goto(site.url(path))
    assert site.calls()
    for call in site.calls():
        assert b"authorization" not in {key.lower() for key, _ in call.head.headers}


def test_signing_in_and_out(site: Site, context: Any) -> None:
    page = context.new_page()
    page.goto(site.url("/").replace("http://", "http://admin:nonsense@"))
    assert page.url.endswith("/ui/")
    page.fill("input[name=password]", "wrong")
    page.click("#sign-in button")
    page.wait_for_selector("text=Wrong user or password.")
    page = sign_in(context, site)
    page.goto(site.url("/openapi/"))
    page.wait_for_selector("text=List the names of a namespace")
    page.click("text=Sign out")
    page.wait_for_selector("text=Sign in to see your functions.")


def test_without_a_password_there_is_nothing_to_sign_in_to(open_site: Site, context: Any) -> None:
    page = context.new_page()
    page.goto(open_site.url("/ui/", "127.0.0.1"))
    page.wait_for_selector("text=victim:1")
    assert page.is_hidden("text=Sign out")


def test_at_its_namespaces_own_name_a_page_is_whole_and_the_api_far(site: Site, context: Any) -> None:
    """It has storage and reads its own answers; the API and other namespaces are not there, at its name or the gateway's."""
    sign_in(context, site, "localhost")
    script = f"""<body><script>(async () => {{
      sessionStorage.setItem("a", "1");
      const got = {{ own: await (await fetch("data")).text(), storage: sessionStorage.length, origin: self.origin }};
      for (const [name, url] of Object.entries({{ here: "/system/secrets", there: "http://localhost:{site.port}/system/secrets",
        pages: "/ui/", other: "/function/victim.other" }})) {{
        try {{ got[name] = (await fetch(url, {{ credentials: "include" }})).status }} catch (error) {{ got[name] = "!" }}
      }}
      document.body.dataset.found = JSON.stringify(got); document.title = "done";
    }})()</script>"""
    name = site.function(script, paths={"/data": ("mine", "Content-Type: text/plain")})
    site.plane.put("victim", site.plane.replica().endpoint, namespace="other")
    page = context.new_page()
    page.goto(site.url(f"/function/{name}/", "openfaas-fn.fn.localhost"))
    assert results(page) == {
        "own": "mine",
        "storage": 1,
        "origin": f"http://openfaas-fn.fn.localhost:{site.port}",
        "here": 421,
        "there": "!",
        "pages": 421,
        "other": 404,
    }
    assert site.unchanged()


def test_the_front_page_leads_to_a_namespaces_own_name(site: Site, context: Any) -> None:
    page = sign_in(context, site, "localhost")
    link = page.get_attribute("a:has-text('victim')", "href")
    assert link == f"http://openfaas-fn.fn.localhost:{site.port}/function/victim.openfaas-fn"
