// The front page: namespaces and their functions, read from the public API every few seconds.
import { read, SignedOut, start } from "/ui/session.js";

const PAUSE = 5000;

// Everything that comes from the API goes in as text, never as markup.
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function row(cells, tag) {
  const line = make("tr");
  cells.forEach((text, column) => line.append(make(tag, text, column >= 3 ? "number" : "")));
  return line;
}

// Where a namespace's functions have an origin of their own, without which their pages are sandboxed.
function home(namespace, domain) {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const host = domain ? `${namespace}.${domain}` : local ? `${namespace}.fn.localhost` : "";
  return host ? `${location.protocol}//${host}${location.port ? `:${location.port}` : ""}` : "";
}

function section(name, functions, domain) {
  const part = make("section");
  part.append(make("h2", name));
  if (functions.length === 0) {
    part.append(make("p", "No functions.", "note"));
    return part;
  }
  const table = make("table");
  table.append(row(["Function", "Image", "Status", "Replicas", "Calls"], "th"));
  for (const found of functions) {
    const detail = found.hilbert || {};
    const status = detail.message ? `${detail.phase}: ${detail.message}` : detail.phase || "";
    const replicas = `${found.availableReplicas || 0}/${found.replicas || 0}`;
    const line = row([found.name, found.image, status, replicas, String(found.invocationCount || 0)], "td");
    const link = make("a", found.name);
    link.rel = "noopener";
    link.href = `${home(name, domain)}/function/${encodeURIComponent(found.name)}.${encodeURIComponent(name)}`;
    line.firstChild.replaceChildren(link);
    table.append(line);
  }
  part.append(table);
  return part;
}

// A token of a namespace may not read it; everything else on the page does without.
async function readInfo() {
  try {
    return await read("/system/info");
  } catch (error) {
    if (error instanceof SignedOut) throw error;
    return null;
  }
}

async function show() {
  const [info, names] = await Promise.all([readInfo(), read("/system/namespaces")]);
  const lists = await Promise.all(names.map((name) => read(`/system/functions?namespace=${encodeURIComponent(name)}`)));
  document.getElementById("namespaces").replaceChildren(...names.map((name, at) => section(name, lists[at], info?.hilbert?.["functions-domain"])));
  document.getElementById("note").textContent = info
    ? `Release ${info.version.release}, functions run by ${info.provider.provider}.`
    : "Functions of your namespaces.";
}

const again = start(show);
setInterval(() => document.getElementById("sign-in").hidden && again(), PAUSE);
