// Serves function/handler.js to the watchdog. Edit the handler, not this file.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const module_ = require('node:module');
const os = require('node:os');
const path = require('node:path');
const querystring = require('node:querystring');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { pathToFileURL } = require('node:url');

const RAW_BODY = process.env.RAW_BODY === 'true';
const MAX_RAW = toBytes(process.env.MAX_RAW_SIZE, 100 * 1024);
const MAX_JSON = toBytes(process.env.MAX_JSON_SIZE, 100 * 1024);

class FunctionEvent {
  constructor(request, url, body) {
    this.body = body;
    this.headers = request.headers;
    this.method = request.method;
    this.query = toObject(url.searchParams);
    this.path = url.pathname;
  }
}

class FunctionContext {
  #answer;

  constructor(answer) {
    this.statusCode = 200;
    this.headerValues = {};
    this.cbCalled = false;
    this.#answer = answer;
  }

  // Sets the status and gives the context, or, without a value, gives the status.
  status(code) {
    if (code === undefined) return this.statusCode;
    this.statusCode = code;
    return this;
  }

  // Sets the headers and gives the context, or, without a value, gives the headers.
  headers(values) {
    if (values === undefined) return this.headerValues;
    this.headerValues = values;
    return this;
  }

  succeed(value) {
    this.#end(null, value);
  }

  fail(error) {
    this.#end(error === undefined || error === null ? new Error('the function failed') : error);
  }

  // Node's callback style: (error, value).
  get callback() {
    return (error, value) => this.#end(error, value);
  }

  #end(error, value) {
    if (this.cbCalled) return;
    this.cbCalled = true;
    this.#answer(error, value);
  }
}

class TooLarge extends Error {}

function toBytes(text, fallback) {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*(b|kb|mb|gb)?\s*$/i.exec(text ?? '');
  if (!match) return fallback;
  return Math.floor(Number(match[1]) * { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }[(match[2] ?? 'b').toLowerCase()]);
}

function toObject(parameters) {
  const found = {};
  for (const key of new Set(parameters.keys())) {
    const values = parameters.getAll(key);
    found[key] = values.length === 1 ? values[0] : values;
  }
  return found;
}

// The whole body. One that is too large is refused at once and read to its end, so that the connection stays of use.
function read(request, limit) {
  return new Promise((resolve, reject) => {
    let pieces = [];
    let size = 0;
    request.on('data', (piece) => {
      size += piece.length;
      if (size <= limit) {
        pieces.push(piece);
      } else {
        pieces = [];
        reject(new TooLarge(`the body is larger than ${limit} bytes`));
      }
    });
    request.on('end', () => resolve(Buffer.concat(pieces)));
    request.on('error', reject);
  });
}

// The body as its content type says: an object for JSON and forms, text for text, bytes for the rest.
async function readBody(request) {
  const type = (request.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
  const json = type === 'application/json' || type.endsWith('+json');
  const body = await read(request, json && !RAW_BODY ? MAX_JSON : MAX_RAW);
  if (RAW_BODY) return body;
  if (body.length === 0) return {};
  if (json) return JSON.parse(body.toString('utf8'));
  if (type === 'application/x-www-form-urlencoded') return { ...querystring.parse(body.toString('utf8')) };
  if (type.startsWith('text/')) return body.toString('utf8');
  return body;
}

async function write(response, context, value) {
  let body = value;
  let type = 'text/html; charset=utf-8';
  if (body === undefined || body === null) {
    body = '';
  } else if (Buffer.isBuffer(body) || body instanceof Uint8Array) {
    type = 'application/octet-stream';
  } else if (body instanceof Readable || typeof body[Symbol.asyncIterator] === 'function') {
    response.writeHead(context.status(), context.headers());
    response.flushHeaders();
    await pipeline(body instanceof Readable ? body : Readable.from(body), response);
    return;
  } else if (typeof body === 'object') {
    body = JSON.stringify(body);
    type = 'application/json; charset=utf-8';
  } else {
    body = String(body);
  }
  for (const [name, text] of Object.entries(context.headers())) response.setHeader(name, text);
  if (!response.hasHeader('content-type') && body.length > 0) response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.statusCode = context.status();
  response.end(body);
}

function refuse(response, status, text) {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const body = `${text}\n`;
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

async function call(handler, request, response) {
  const url = new URL(request.url, 'http://function');
  let body;
  try {
    body = await readBody(request);
  } catch (error) {
    const status = error instanceof TooLarge ? 413 : error instanceof SyntaxError ? 400 : 0;
    if (status) refuse(response, status, status === 413 ? error.message : 'the body is not JSON');
    else response.destroy();
    return;
  }
  const context = new FunctionContext((error, value) => {
    if (error) {
      console.error(error);
      refuse(response, 500, error instanceof Error ? error.toString() : String(error));
      return;
    }
    write(response, context, value).catch((failure) => {
      console.error(failure);
      refuse(response, 500, 'the answer could not be written');
    });
  });
  try {
    const value = await handler(new FunctionEvent(request, url, body), context, context.callback);
    // With three parameters, the handler calls back by itself.
    if (handler.length < 3 || value !== undefined) context.succeed(value);
  } catch (error) {
    context.fail(error);
  }
}

// `require` looks into NODE_PATH, `import` does not: teach it to, for handlers that are modules.
function teachImport() {
  const folders = (process.env.NODE_PATH ?? '').split(path.delimiter).filter(Boolean);
  if (folders.length === 0 || typeof module_.register !== 'function') return;
  const parents = JSON.stringify(folders.map((folder) => pathToFileURL(path.join(path.dirname(folder), 'x.js')).href));
  const hook = `
    const parents = ${parents};
    export async function resolve(specifier, context, next) {
      try {
        return await next(specifier, context);
      } catch (error) {
        if (error.code !== 'ERR_MODULE_NOT_FOUND' || /^(\\.|\\/|[a-z]+:)/.test(specifier)) throw error;
        for (const parentURL of parents) {
          try { return await next(specifier, { ...context, parentURL }); } catch { /* the next folder */ }
        }
        throw error;
      }
    }`;
  module_.register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

async function load() {
  teachImport();
  const file = path.join(__dirname, 'function', 'handler.js');
  const loaded = await import(pathToFileURL(file).href);
  const handler = typeof loaded.default === 'function' ? loaded.default : loaded.handler ?? loaded.default?.handler;
  if (typeof handler !== 'function') throw new Error('handler.js must export a function: module.exports = async (event, context) => {}');
  return handler;
}

// From the watchdog's upstream_url: unix:NAME (in TMPDIR), unix:/PATH or http://HOST:PORT.
function listener(upstream) {
  if (upstream.startsWith('unix:')) return { path: path.resolve(process.env.TMPDIR || os.tmpdir(), upstream.slice('unix:'.length)) };
  const url = new URL(upstream);
  return { host: url.hostname, port: Number(url.port) };
}

async function main() {
  const handler = await load();
  const server = http.createServer({ keepAliveTimeout: 30_000, requestTimeout: 0 }, (request, response) => {
    call(handler, request, response).catch((error) => {
      console.error(error);
      refuse(response, 500, 'the function failed');
    });
  });
  const place = listener(process.env.upstream_url ?? 'http://127.0.0.1:3000');
  if (place.path) fs.rmSync(place.path, { force: true });
  server.listen(place);
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
