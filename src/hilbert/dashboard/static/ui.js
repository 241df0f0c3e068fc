// The front page: namespaces and their functions, read from the public API every few seconds.
import { read, start } from "/ui/session.js";

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

function section(name, functions) {
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
    link.href = `/function/${encodeURIComponent(found.name)}.${encodeURIComponent(name)}`;
    line.firstChild.replaceChildren(link);
    table.append(line);
  }
  part.append(table);
  return part;
}

async function show() {
  const [info, names] = await Promise.all([read("/system/info"), read("/system/namespaces")]);
  const lists = await Promise.all(names.map((name) => read(`/system/functions?namespace=${encodeURIComponent(name)}`)));
  document.getElementById("namespaces").replaceChildren(...names.map((name, at) => section(name, lists[at])));
  document.getElementById("note").textContent = `Release ${info.version.release}, functions run by ${info.provider.provider}.`;
}

const again = start(show);
setInterval(() => document.getElementById("sign-in").hidden && again(), PAUSE);
