/** `npm start`. */
import t from 'tap';
import { start } from '../support/cli.js';

t.test('four rules and a table', async (t) => {
  const run = start(['--epochs', '1'], { module: 'dist/cli/start.js' });
  const { code, stdout, stderr } = await run.finished;
  t.equal(code, 0, stderr);
  for (const rule of ['bp', 'fa', 'dfa', 'dtp']) t.match(stderr, new RegExp(`^${rule} +epoch 1/1 .*test \\d`, 'm'));
  t.match(stdout, /^ rule +test error here +in the paper +seconds +images\/s$/m);
  t.match(stdout, /^ bp +backpropagation +\d+\.\d\d % +1\.48 % +\d+\.\d +[\d,]+$/m);
  t.match(stdout, /^ fa +feedback alignment +\d+\.\d\d % +1\.85 %/m);
  t.match(stdout, /^ dfa +direct feedback alignment +\d+\.\d\d % +2\.75 %/m);
  t.match(stdout, /^ dtp +difference target propagation +\d+\.\d\d % +2\.86 %/m);
  t.match(stdout, /after 1 epoch on 55,000 images \(5,000 more are held out\), seed 1/);
  t.match(stdout, /the best of 500 epochs, chosen on the test set/);
});

t.test('Ctrl-C', async (t) => {
  const run = start([], { module: 'dist/cli/start.js' });
  await run.seen(/learns MNIST/);
  run.process.kill('SIGINT');
  t.match(await run.finished, { code: 130, stdout: '', stderr: /Stopping/ });
});

t.test('it takes no other arguments', async (t) => {
  for (const args of [['--epoch', '1'], ['--epochs', '0'], ['--epochs'], ['3']]) {
    const finished = await start(args, { module: 'dist/cli/start.js' }).finished;
    t.match(finished, { code: 2, stderr: 'npm start takes no arguments' });
  }
});
