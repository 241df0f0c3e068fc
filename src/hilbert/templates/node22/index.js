// Serves function/handler.js to the watchdog. Edit the handler, not this file.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const fs = require('node:fs');
const http = require('node:http');
const module_ = require('node:module');
const os = require('node:os');
const path = require('node:path');
const querystring = require('node:querystring');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { pathToFileURL } = require('node:url');
const zlib = require('node:zlib');

const RAW_BODY = (process.env.RAW_BODY ?? '').toLowerCase() === 'true';
const LIMIT = 100 * 1024;
const MAX_RAW = toBytes(process.env.MAX_RAW_SIZE, LIMIT);
const MAX_JSON = toBytes(process.env.MAX_JSON_SIZE, LIMIT);
const MAX_FIELDS = 1000;
const MAX_DEPTH = 32;
const MAX_INDEX = 100;
const EXPRESS_4 = contract().express === 4;
const INFLATE = { gzip: zlib.createGunzip, deflate: zlib.createInflate, br: zlib.createBrotliDecompress };

class FunctionEvent {
  constructor(request, body) {
    const [path_, query] = split(request.url);
    this.body = body;
    this.headers = request.headers;
    this.method = request.method;
    this.query = EXPRESS_4 ? nested(query, 'utf-8') : querystring.parse(query);
    this.path = path_;
  }
}

class FunctionContext {
  constructor(cb) {
    this.statusCode = 200;
    this.cb = (error, value) => {
      this.cbCalled += 1;
      if (this.cbCalled === 1) cb(error, value);
    };
    this.headerValues = {};
    this.cbCalled = 0;
  }

  // Sets the status and gives the context, or, without a value, gives the status.
  status(code) {
    if (!code) return this.statusCode;
    this.statusCode = code;
    return this;
  }

  // Sets the headers and gives the context, or, without a value, gives the headers.
  headers(values) {
    if (!values) return this.headerValues;
    this.headerValues = values;
    return this;
  }

  succeed(value) {
    this.cb(undefined, value);
  }

  // The status is 500, unless the handler has set another one.
  fail(error) {
    this.cb(new Failure(error));
  }
}

// What a handler gave to `fail`: its text is the answer.
class Failure {
  constructor(given) {
    this.given = given;
  }
}

// A request that the handler does not get to see.
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Whose manners a handler expects: templates that extend this one say so in contract.json.
function contract() {
  const file = path.join(__dirname, 'contract.json');
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : {};
}

function toBytes(text, fallback) {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*(b|kb|mb|gb)?\s*$/i.exec(text ?? '');
  if (!match) return fallback;
  return Math.floor(Number(match[1]) * { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }[(match[2] ?? 'b').toLowerCase()]);
}

// Path and query of a target, as they were sent.
function split(target) {
  const relative = target.startsWith('/') ? target : new URL(target, 'http://function').href.replace(/^[a-z]+:\/\/[^/]*/i, '');
  const at = relative.indexOf('?');
  return at < 0 ? [relative, ''] : [relative.slice(0, at), relative.slice(at + 1)];
}

// The whole body, inflated. One that is too large is refused at once and read to its end, so that the connection stays of use.
function read(request, limit) {
  const encoding = (request.headers['content-encoding'] ?? 'identity').toLowerCase();
  const inflate = INFLATE[encoding];
  if (!inflate && encoding !== 'identity') {
    request.resume();
    throw new Refusal(415, `unsupported content encoding "${encoding}"`);
  }
  return new Promise((resolve, reject) => {
    const source = inflate ? request.pipe(inflate()) : request;
    let pieces = [];
    let size = 0;
    source.on('data', (piece) => {
      size += piece.length;
      if (size <= limit) {
        pieces.push(piece);
        return;
      }
      pieces = [];
      if (inflate) {
        request.unpipe(source).resume();
        source.destroy();
      }
      reject(new Refusal(413, `the body is larger than ${limit} bytes`));
    });
    source.on('end', () => resolve(Buffer.concat(pieces)));
    source.on('error', (error) => reject(inflate ? new Refusal(400, error.message) : error));
    if (inflate) request.on('error', reject);
  });
}

function decode(body, charset) {
  try {
    return new TextDecoder(charset).decode(body);
  } catch {
    throw new Refusal(415, `unsupported charset "${charset.toUpperCase()}"`);
  }
}

// The body as its content type says: an object for JSON and forms, text for text, bytes for the rest, undefined without one.
async function readBody(request) {
  const { headers } = request;
  headers['content-type'] ??= 'text/plain';
  if (headers['transfer-encoding'] === undefined && Number.isNaN(Number.parseInt(headers['content-length'], 10))) {
    return EXPRESS_4 ? {} : undefined;
  }
  const [first, ...parameters] = headers['content-type'].toLowerCase().split(';');
  const type = first.trim();
  const charset = /^\s*charset\s*=\s*"?([^"]+)"?\s*$/.exec(parameters.find((text) => text.includes('charset')) ?? '')?.[1] ?? 'utf-8';
  const json = type === 'application/json' || type.endsWith('+json');
  const body = await read(request, json && !RAW_BODY ? MAX_JSON : MAX_RAW);
  if (RAW_BODY) return body;
  if (json) return toJson(body, charset);
  if (type === 'application/x-www-form-urlencoded') return toForm(body, charset);
  if (type.startsWith('text/')) return decode(body, charset);
  return body;
}

function toJson(body, charset) {
  if (!charset.startsWith('utf-')) throw new Refusal(415, `unsupported charset "${charset.toUpperCase()}"`);
  if (body.length === 0) return {};
  const text = decode(body, charset === 'utf-16' ? 'utf-16le' : charset);
  if (!/^\s*[[{]/.test(text)) throw new Refusal(400, 'the body is no JSON object or array');
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'the body is not JSON');
  }
}

function toForm(body, charset) {
  if (charset !== 'utf-8' && charset !== 'iso-8859-1') {
    throw new Refusal(415, `unsupported charset "${charset.toUpperCase()}"`);
  }
  return nested(body.toString('latin1'), charset);
}

// A form or a query, with names such as a[b] and a[] nested.
function nested(text, charset) {
  if (text === '') return {};
  const pairs = text.split('&');
  if (pairs.length > MAX_FIELDS) throw new Refusal(413, 'too many parameters');
  const form = {};
  for (const pair of pairs) {
    if (pair === '') continue;
    const at = pair.indexOf(']=') >= 0 ? pair.indexOf(']=') + 1 : pair.indexOf('=');
    const name = unescape_(at < 0 ? pair : pair.slice(0, at), charset);
    const keys = [/^[^[]*/.exec(name)[0], ...Array.from(name.matchAll(/\[([^[\]]*)\]/g), (found) => found[1])];
    if (keys[0] === '' && keys.length > 1) keys.shift();
    if (keys[0] === '' || keys.includes('__proto__') || keys.length > MAX_DEPTH) continue;
    put(form, keys, at < 0 ? '' : unescape_(pair.slice(at + 1), charset));
  }
  return form;
}

function unescape_(text, charset) {
  const octets = querystring.unescapeBuffer(text.replaceAll('+', ' '));
  return octets.toString(charset === 'utf-8' ? 'utf8' : 'latin1');
}

function put(target, keys, value) {
  const [key, ...rest] = keys;
  const name = key === '' && Array.isArray(target) ? target.length : key;
  const index = rest.length > 0 && (rest[0] === '' || (/^\d+$/.test(rest[0]) && Number(rest[0]) <= MAX_INDEX));
  const there = Object.hasOwn(target, name) ? target[name] : undefined;
  if (rest.length === 0) {
    target[name] = there === undefined ? value : [].concat(there, value);
  } else {
    if (there === undefined || typeof there !== 'object') {
      target[name] = there === undefined ? (index ? [] : {}) : [there];
    } else if (Array.isArray(there) && !index) {
      target[name] = { ...there };
    }
    put(target[name], rest, value);
  }
}

function render(value) {
  if (value === undefined || value === null) return [Buffer.alloc(0), undefined];
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return [Buffer.from(value), 'application/octet-stream'];
  if (['number', 'boolean', 'object'].includes(typeof value)) {
    return [Buffer.from(JSON.stringify(value) ?? ''), 'application/json; charset=utf-8'];
  }
  return [Buffer.from(String(value)), 'text/html; charset=utf-8'];
}

async function write(response, context, value) {
  const status = Number(context.status());
  if (value instanceof Readable || typeof value?.[Symbol.asyncIterator] === 'function') {
    response.writeHead(status, context.headers());
    response.flushHeaders();
    await pipeline(value instanceof Readable ? value : Readable.from(value), response);
    return;
  }
  const [body, type] = render(value);
  for (const [name, text] of Object.entries(context.headers())) {
    response.setHeader(name, Array.isArray(text) ? text.map(String) : String(text));
  }
  if (response.hasHeader('content-type')) {
    if (type?.includes('charset')) response.setHeader('Content-Type', withCharset(response.getHeader('content-type')));
  } else if (type) {
    response.setHeader('Content-Type', type);
  }
  end(response, status, body);
}

// The text of an answer is UTF-8, whatever else its type says.
function withCharset(type) {
  return `${String(type).replace(/\s*;\s*charset\s*=[^;]*/i, '')}; charset=utf-8`;
}

function end(response, status, body) {
  response.statusCode = status;
  if (status === 204 || status === 304) {
    response.removeHeader('Content-Type');
    response.end();
    return;
  }
  const whole = status === 205 ? Buffer.alloc(0) : body;
  response.setHeader('Content-Length', whole.length);
  response.end(whole);
}

function fail(response, context, error) {
  console.error(error instanceof Failure ? error.given : error);
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const status = context.status() === 200 ? 500 : Number(context.status());
  const given = error instanceof Failure ? error.given : error;
  if (error instanceof Failure && given && typeof given.toString !== 'function') {
    const [body, type] = render(given);
    response.setHeader('Content-Type', type);
    end(response, status, body);
    return;
  }
  const text = given ? given.toString() : '';
  if (text) response.setHeader('Content-Type', `text/${error instanceof Failure ? 'html' : 'plain'}; charset=utf-8`);
  end(response, status, Buffer.from(text));
}

function refuse(response, status, text) {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  end(response, status, Buffer.from(`${text}\n`));
}

async function call(handler, request, response) {
  let body;
  try {
    body = await readBody(request);
  } catch (error) {
    if (error instanceof Refusal) refuse(response, error.status, error.message);
    else response.destroy();
    return;
  }
  const context = new FunctionContext((error, value) => {
    if (error) {
      fail(response, context, error);
      return;
    }
    write(response, context, value).catch((failure) => {
      console.error(failure);
      refuse(response, 500, 'the answer could not be written');
    });
  });
  try {
    const value = await handler(new FunctionEvent(request, body), context, context.cb);
    // With three parameters, the handler calls back by itself.
    if (context.cbCalled === 0 && (handler.length < 3 || value !== undefined)) context.succeed(value);
  } catch (error) {
    context.cb(error ?? new Error('the function failed'));
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

const calls = new AsyncLocalStorage();

// The id of a call, as the gateway gives it; empty without one.
function callId(request) {
  const id = request.headers['x-call-id'] ?? '';
  return /^[\w.:-]{1,128}$/.test(id) ? id : '';
}

// Has the log say which call wrote a line: the watchdog takes lines as `CALL-ID TEXT` on a descriptor of its own.
function tellCalls() {
  const descriptor = Number(process.env.WATCHDOG_LOG_FD);
  delete process.env.WATCHDOG_LOG_FD;
  if (!descriptor) return;
  for (const stream of [process.stdout, process.stderr]) {
    const plain = stream.write;
    stream.write = function write(piece, encoding, done) {
      const call_ = calls.getStore();
      if (!call_?.id) return plain.call(stream, piece, encoding, done);
      const text = typeof piece === 'string' ? piece : Buffer.from(piece).toString();
      const lines = ((call_.begun.get(stream) ?? '') + text).split('\n');
      call_.begun.set(stream, lines.pop());
      tell(descriptor, call_.id, lines);
      const then = typeof encoding === 'function' ? encoding : done;
      if (then) process.nextTick(then);
      return true;
    };
  }
  return descriptor;
}

function tell(descriptor, id, lines) {
  if (lines.length > 0) fs.writeSync(descriptor, lines.map((line) => `${id} ${line}\n`).join(''));
}

async function load() {
  teachImport();
  const file = path.join(__dirname, 'function', 'handler.js');
  const loaded = await import(pathToFileURL(file).href);
  const handler = [loaded.default, loaded.handler, loaded.default?.handler].find((one) => typeof one === 'function');
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
  const told = tellCalls();
  const handler = await load();
  const server = http.createServer({ keepAliveTimeout: 30_000, requestTimeout: 0 }, (request, response) => {
    const speaker = { id: callId(request), begun: new Map() };
    calls.run(speaker, () => call(handler, request, response)).catch((error) => {
      console.error(error);
      refuse(response, 500, 'the function failed');
    });
    response.once('close', () => {
      for (const line of speaker.begun.values()) if (line) tell(told, speaker.id, [line]);
      speaker.begun.clear();
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
