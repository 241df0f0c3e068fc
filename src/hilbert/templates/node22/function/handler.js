'use strict';

// Edit this: what is given to `succeed`, or returned, is the answer.
// `event` has body, headers, method, query and path.
module.exports = async (event, context) => {
  const name = event.query.name ?? 'world';
  return context
    .status(200)
    .headers({ 'Content-Type': 'text/plain; charset=utf-8' })
    .succeed(`Hello, ${name}!\n`);
};
