// Shows the OpenAPI document that the gateway serves: one line for each operation, its details on demand.
import { read, start } from "/ui/session.js";

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function listed(title, entries) {
  const table = make("table");
  for (const [name, text] of entries) {
    const line = make("tr");
    line.append(make("td", name), make("td", text));
    table.append(line);
  }
  const part = make("div");
  if (entries.length > 0) part.append(make("h2", title), table);
  return part;
}

function schemaOf(content) {
  const found = Object.values(content || {})[0];
  return found && found.schema;
}

function operation(path, method, details, schemas) {
  const part = make("details");
  const head = make("summary");
  head.append(make("code", method.toUpperCase(), "method"), make("code", path), make("span", ` ${details.summary}`));
  part.append(head);
  const parameters = (details.parameters || []).map((given) => [given.name, `${given.in}: ${given.description || ""}`]);
  part.append(listed("Parameters", parameters));
  const body = details.requestBody && schemaOf(details.requestBody.content);
  if (body) {
    const name = (body.$ref || "").split("/").pop();
    part.append(make("h2", "Body"), make("pre", JSON.stringify(schemas[name] || body, null, 2)));
  }
  part.append(listed("Answers", Object.entries(details.responses).map(([status, given]) => [status, given.description])));
  return part;
}

async function show() {
  const description = await read("/openapi/openapi.json");
  const parts = [];
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, details] of Object.entries(methods)) {
      parts.push(operation(path, method, details, description.components.schemas));
    }
  }
  document.getElementById("operations").replaceChildren(...parts);
  document.getElementById("note").textContent = `${parts.length} operations, release ${description.info.version}.`;
}

start(show);
