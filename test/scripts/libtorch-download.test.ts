/** Getting libtorch: pip, pip with PyTorch's index, the archive; and what a bad network or a bad file leads to. */
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { fetchLibtorch } from '../../scripts/fetch-libtorch.mjs';
import { resolveLibtorch } from '../../scripts/libtorch.mjs';
import { SetupError } from '../../scripts/setup-error.mjs';
import { unzip } from '../../scripts/unzip.mjs';
import { sha256 } from '../support/digests.js';
import { refusal } from '../support/refusal.js';
import { fakePrograms, fakePython, libtorchArchive, libtorchFiles, serve, zip } from '../support/setup.js';

const quiet = () => {};
const UNREACHABLE = 'http://127.0.0.1:9/libtorch.zip'; // the discard port: nobody listens

t.test('pip, as it is configured, is asked for the CPU build alone', async (t) => {
  const dir = t.testdir({ 'torch.whl': '' });
  const wheel = path.join(dir, 'torch.whl');
  const inWheel = Object.entries(libtorchFiles('2.13.0+cpu')).map(
    ([name, content]) => [`torch/${name}`, content] as const,
  );
  fs.writeFileSync(
    wheel,
    zip({ ...Object.fromEntries(inWheel), 'torch/nn/__init__.py': 'import this', 'torch/test/x': '' }),
  );
  const PATH = fakePrograms(path.join(dir, 'bin'), {
    python3: fakePython(
      '',
      `echo "$@" > '${dir}/asked'; while [ "$1" != --dest ]; do shift; done; /bin/mkdir -p "$2"; /bin/cp '${wheel}' "$2"`,
    ),
  });
  const env = { PATH, CORTORCH_CACHE: path.join(dir, 'cache') };
  const found = await fetchLibtorch({ env, log: quiet });
  t.match(found, {
    source: 'cache',
    version: '2.13.0+cpu',
    path: path.join(dir, 'cache/libtorch-2.13.0+cpu/torch'),
  });
  t.match(fs.readFileSync(path.join(dir, 'asked'), 'utf8'), /^-m pip download torch==2\.13\.0\+cpu --no-deps/);
  t.ok(fs.existsSync(path.join(found.path, 'nn')), 'with the Python sources');
  t.notOk(fs.existsSync(path.join(found.path, 'test')), 'without test programs');
  t.same(fs.readdirSync(path.join(dir, 'cache')), ['libtorch-2.13.0+cpu'], 'nothing else is left in the cache');
  t.match(resolveLibtorch({ env }).found, { source: 'cache', path: found.path }, 'and it is found again');
});

t.test('where there is no Python, the archive is downloaded and checked', async (t) => {
  const dir = t.testdir();
  const archive = libtorchArchive();
  const server = await serve((_request, response) => response.end(archive));
  t.teardown(server.close);
  const lines: string[] = [];
  const env = {
    PATH: dir,
    CORTORCH_CACHE: path.join(dir, 'cache'),
    CORTORCH_LIBTORCH_SHA256: sha256(archive),
  };
  const found = await fetchLibtorch({ env, log: (line) => lines.push(line), archiveUrl: server.url });
  t.match(found, { source: 'cache', version: '2.13.0+cpu' });
  t.match(lines.join('\n'), /from pip, as it is configured\n {2}that failed: python3: not installed/);
  t.match(lines.join('\n'), `from ${server.url}`);
  t.match(lines.join('\n'), ' MB', 'progress is shown');
});

t.test('a mirror can be named, and is the only place that is asked', async (t) => {
  const dir = t.testdir();
  const archive = libtorchArchive();
  const server = await serve((_request, response) => response.end(archive));
  t.teardown(server.close);
  const PATH = fakePrograms(path.join(dir, 'bin'), {
    python3: fakePython('', `touch '${dir}/asked'; exit 1`),
  });
  const mirror = { CORTORCH_LIBTORCH_URL: server.url, CORTORCH_LIBTORCH_SHA256: sha256(archive) };
  const found = await fetchLibtorch({ env: { PATH, CORTORCH_CACHE: dir, ...mirror }, log: quiet });
  t.equal(found.version, '2.13.0+cpu');
  t.notOk(fs.existsSync(path.join(dir, 'asked')));
});

t.test('without a network one message says all that was tried, and what helps', async (t) => {
  const dir = t.testdir();
  const noNetwork = [
    `echo "WARNING: Retrying after connection broken by 'New(x): Failed: [Errno 111] Connection refused': /torch/"`,
    'echo "ERROR: No matching distribution found for torch"',
    'exit 1',
  ].join(' >&2\n');
  const PATH = fakePrograms(path.join(dir, 'bin'), { python3: fakePython('', noNetwork) });
  const env = { PATH, CORTORCH_CACHE: path.join(dir, 'cache') };
  const { tried } = resolveLibtorch({ env });
  const error = await refusal(SetupError, () => fetchLibtorch({ env, log: quiet, tried, archiveUrl: UNREACHABLE }));
  t.equal(error.code, 'ERR_LIBTORCH_DOWNLOAD');
  for (const part of [
    'No libtorch was found, and it could not be downloaded.',
    'LIBTORCH: not set',
    'has no torch',
    'pip, as it is configured: No matching distribution found for torch (the index was not reached: [Errno 111] Connection refused)',
    'pip, from https://download.pytorch.org/whl/cpu: No matching distribution found for torch',
    `${UNREACHABLE}: fetch failed: `,
    'Needed: libtorch 2.11–2.14 for Linux x64',
    'python3 -m pip install torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu',
    'export LIBTORCH=/path/to/libtorch',
    'npx cortorch setup',
  ]) {
    t.match(error.message, part);
  }
  t.same(fs.readdirSync(path.join(dir, 'cache')), [], 'nothing half-done is left');
});

t.test('a download that cannot be trusted is thrown away', async (t) => {
  const archive = libtorchArchive();
  const damaged = Buffer.from(archive);
  damaged[58]! ^= 1; // in the packed bytes of the first entry
  const other = libtorchArchive('2.9.0+cpu');
  const cases: Record<string, { body: Buffer; status?: number; cut?: boolean; sha?: Buffer; says: RegExp }> = {
    'another checksum': {
      body: damaged,
      sha: archive,
      says: /SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}/,
    },
    'a truncated download': { body: archive, cut: true, says: /terminated|aborted|closed|ECONNRESET/ },
    'an error page': { body: Buffer.from('gone'), status: 404, says: /the server answered 404/ },
    'no zip file': { body: Buffer.from('<html>proxy login</html>'), says: /is not a zip file/ },
    'a damaged entry': { body: damaged, says: /is damaged|invalid/ },
    'another version': { body: other, says: /is libtorch 2\.9\.0\+cpu, outside the supported 2\.11–2\.14/ },
    'something else': { body: zip({ 'readme.txt': 'hello' }), says: /holds no libtorch/ },
  };
  for (const [name, { body, status = 200, cut, sha = body, says }] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const dir = t.testdir();
      const server = await serve((_request, response) => {
        response.writeHead(status, { 'content-length': body.length });
        if (cut) response.write(body.subarray(0, body.length / 2), () => response.destroy());
        else response.end(body);
      });
      t.teardown(server.close);
      const env = { PATH: '', CORTORCH_CACHE: dir, CORTORCH_LIBTORCH_SHA256: sha256(sha) };
      const error = await refusal(SetupError, () => fetchLibtorch({ env, log: quiet, archiveUrl: server.url }));
      t.equal(error.code, 'ERR_LIBTORCH_DOWNLOAD');
      t.match(error.message, says);
      t.equal(resolveLibtorch({ env }).found, null, 'and is not taken for a libtorch later');
      t.same(fs.readdirSync(dir), []);
    });
  }
});

t.test('what an older failure left in the cache is replaced', async (t) => {
  const dir = t.testdir({ 'libtorch-2.13.0+cpu': { torch: { lib: { 'libtorch.so': '' } } } });
  const archive = libtorchArchive();
  const server = await serve((_request, response) => response.end(archive));
  t.teardown(server.close);
  const env = { PATH: '', CORTORCH_CACHE: dir, CORTORCH_LIBTORCH_SHA256: sha256(archive) };
  t.equal(resolveLibtorch({ env }).found, null);
  t.match(await fetchLibtorch({ env, log: quiet, archiveUrl: server.url }), { version: '2.13.0+cpu' });
});

t.test('a cache that cannot be written names the way out', async (t) => {
  const dir = t.testdir({ file: '' });
  const env = { PATH: '', CORTORCH_CACHE: path.join(dir, 'file/cache') };
  const error = await refusal(SetupError, () => fetchLibtorch({ env, log: quiet, archiveUrl: UNREACHABLE }));
  t.equal(error.code, 'ERR_CACHE_NOT_WRITABLE');
  t.match(error.message, 'export CORTORCH_CACHE=');
});

t.test('a zip file cannot write outside its folder', async (t) => {
  const dir = t.testdir();
  const archive = path.join(dir, 'evil.zip');
  const target = path.join(dir, 'out');
  for (const name of ['../escaped', 'a/../../escaped', '/tmp/../../escaped']) {
    fs.writeFileSync(archive, zip({ [name]: 'x' }));
    await t.rejects(unzip(archive, target), { message: /outside its folder/ }, name);
    t.notOk(fs.existsSync(path.join(dir, 'escaped')), name);
  }
  fs.writeFileSync(archive, zip({ 'a/../inside': 'x' }));
  await unzip(archive, target);
  t.equal(fs.readFileSync(path.join(target, 'inside'), 'utf8'), 'x', 'and what stays inside is unpacked');
});
