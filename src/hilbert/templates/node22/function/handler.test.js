'use strict';
// Every build runs these tests; `--skip-tests` builds without them.

const assert = require('node:assert');
const test = require('node:test');

const handler = require('./handler.js');

test('greets by name', async () => {
  const answer = {};
  const context = {
    status(code) {
      answer.status = code;
      return this;
    },
    headers(values) {
      answer.headers = values;
      return this;
    },
    succeed(value) {
      answer.body = value;
    },
  };
  await handler({ body: {}, headers: {}, method: 'GET', path: '/', query: { name: 'Ada' } }, context);
  assert.strictEqual(answer.status, 200);
  assert.strictEqual(answer.body, 'Hello, Ada!\n');
});
