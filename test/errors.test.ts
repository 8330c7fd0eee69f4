import t from 'tap';
import { CortorchError, invalid, isCount, isInteger, isNumber, isPlainObject, show } from '../lib/errors.js';
import { didYouMean, editDistance, suggest } from '../lib/suggest.js';

t.test('CortorchError', async (t) => {
  const cause = new Error('below');
  const error = new CortorchError('ERR_WRITE_FAILED', 'it went wrong', { cause });
  t.ok(error instanceof Error);
  t.equal(error.code, 'ERR_WRITE_FAILED');
  t.equal(error.name, 'CortorchError');
  t.equal(error.cause, cause);
  t.match(error.stack, /CortorchError: it went wrong/);
  t.strictSame(Object.keys(error), ['code'], 'only the code shows when it is printed');
});

t.test('invalid says what was expected and what came', async (t) => {
  const error = invalid('batchSize', 'a count of at least 1', 0);
  t.equal(error.code, 'ERR_INVALID_ARGUMENT');
  t.equal(error.message, 'expected a count of at least 1 for `batchSize` but received 0 of type number');
  const message = (value: unknown): string => invalid('x', 'y', value).message.slice('expected y for `x` '.length);
  t.equal(message('ten'), 'but received "ten" of type string');
  t.equal(message(undefined), 'but received undefined of type undefined');
  t.equal(message(null), 'but received null of type null');
  t.equal(message([1, 2]), 'but received [1,2] of type array');
  t.equal(message({ a: 1 }), 'but received {"a":1} of type object');
  t.equal(message(new Map()), 'but received a Map of type Map');
  t.equal(message(new Float32Array(3)), 'but received Float32Array(3) of type Float32Array');
  t.equal(message(7n), 'but received 7n of type bigint');
  t.equal(message(NaN), 'but received NaN of type number');
  const circle: unknown[] = [];
  circle.push(circle);
  t.equal(message(circle), 'but received an array of type array');
  t.ok(show('x'.repeat(1e6)).length < 70, 'a long value is cut');
  t.ok(show(Array(1e4).fill(1)).length < 70);
});

t.test('predicates', async (t) => {
  t.ok(isNumber(0.5) && !isNumber(NaN) && !isNumber(Infinity) && !isNumber('1'));
  t.ok(isInteger(-3) && !isInteger(0.5) && !isInteger(2 ** 53));
  t.ok(isCount(1) && !isCount(0) && !isCount(1.5));
  t.ok(isPlainObject({}) && isPlainObject(Object.create(null)));
  t.notOk(isPlainObject([]) || isPlainObject(null) || isPlainObject(new Map()));
});

t.test('suggest', async (t) => {
  const flags = ['rule', 'batch-size', 'epochs', 'eps', 'lr', 'lr-schedule', 'beta1', 'beta2', 'seed'];
  t.equal(suggest('batchsize', flags), 'batch-size');
  t.equal(suggest('batchSize', flags), 'batch-size');
  t.equal(suggest('bacth-size', flags), 'batch-size', 'a swap is one slip');
  t.equal(suggest('epoch', flags), 'epochs');
  t.equal(suggest('lr-shedule', flags), 'lr-schedule');
  t.equal(suggest('rl', flags), 'lr');
  t.equal(suggest('sede', flags), 'seed');
  t.equal(suggest('ruler', flags), 'rule');
  t.equal(suggest('momentum', flags), undefined, 'nothing near');
  t.equal(suggest('epohcz', flags), 'epochs', 'two slips in six letters');
  t.equal(suggest('sleep', flags), undefined, 'two slips from seed, in four letters');
  t.equal(suggest('x', flags), undefined);
  t.equal(suggest('', flags), undefined);
  t.equal(suggest('beta3', flags), 'beta1', 'the first of equally near ones');
  t.equal(suggest('anything', []), undefined);
  t.equal(didYouMean('epoch', flags), '; did you mean epochs?');
  t.equal(didYouMean('momentum', flags), '');
});

t.test('edit distance', async (t) => {
  t.equal(editDistance('', ''), 0);
  t.equal(editDistance('', 'abc'), 3);
  t.equal(editDistance('abc', 'abc'), 0);
  t.equal(editDistance('abc', 'acb'), 1);
  t.equal(editDistance('kitten', 'sitting'), 3);
  t.equal(editDistance('ca', 'abc'), 3, 'optimal string alignment: no edit within a swap');
});
