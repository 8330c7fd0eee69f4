/** A run that is killed while it trains, while it saves and while it starts ends as one that was left alone. */
import t from 'tap';
import { killAgainAndAgain, RULES } from '../support/kills.js';

for (const rule of Object.keys(RULES) as (keyof typeof RULES)[]) {
  t.test(`${rule}: 3 kills`, (t) => killAgainAndAgain(t, rule, 3));
}
