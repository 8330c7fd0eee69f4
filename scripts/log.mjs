/** Where set-up says what it does. */
import fs from 'node:fs';

/** @typedef {(line: string) => void} Log */

/** @param {string} line */
export function logToStderr(line) {
  process.stderr.write(line + '\n');
}

/**
 * npm shows nothing of what an install script says before it has failed, so this is said to the terminal itself.
 * Without a terminal (CI), or where npm shows it (--foreground-scripts), to stderr.
 * @param {string} line
 */
export function logToTerminal(line) {
  const shown = process.stderr.isTTY ? null : terminal();
  try {
    if (shown === null) logToStderr(line);
    else fs.writeSync(shown, `\r\x1b[K${line}\n`); // npm may stand in the middle of a line of its own
  } catch {
    // The terminal was closed meanwhile; what is done goes on.
  }
}

function npmHidesOutput() {
  const { npm_config_user_agent: agent = '', npm_config_loglevel: level, npm_config_foreground_scripts } = process.env;
  return agent.startsWith('npm/') && level !== 'silent' && npm_config_foreground_scripts !== 'true';
}

/** @type {number | null | undefined} */
let opened;

/** @returns {number | null} null: there is none */
function terminal() {
  if (opened !== undefined) return opened;
  try {
    opened = npmHidesOutput() ? fs.openSync('/dev/tty', 'w') : null;
  } catch {
    opened = null;
  }
  return opened;
}
