/** The same as test/run/kill-resume.test.ts, with 15 kills of each run. */
import t from 'tap';
import { killAgainAndAgain, RULES } from '../support/kills.js';

for (const rule of Object.keys(RULES) as (keyof typeof RULES)[]) {
  t.test(`${rule}: 15 kills`, { timeout: 3_600_000 }, (t) => killAgainAndAgain(t, rule, 15));
}
