#!/usr/bin/env node
// The thread pool that decodes images has its size from the environment when it first does something, and the loader of
// ES modules lets it do something: so this file is none.
// eslint-disable-next-line @typescript-eslint/no-require-imports -- it is CommonJS, and has no other import at once
const { availableParallelism } = require('node:os');
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism()));
void import('./cortorch.js');
