/** The command that puts most things right. */
export const SET_UP = 'npx cortorch setup';

/**
 * A set-up that cannot go on, said once and in full: what was tried, what was found, what is needed and the
 * command that helps. Its message is for people; its `code` is stable.
 */
export class SetupError extends Error {
  /**
   * @param {string} code such as ERR_LIBTORCH_DOWNLOAD
   * @param {string} summary one sentence
   * @param {{ tried?: { source: string, path?: string | undefined, outcome: string }[], found?: string, needed?:
   *   string,
   *           remedies?: string[] }} [details]
   */
  constructor(code, summary, { tried = [], found, needed, remedies = [] } = {}) {
    const lines = [summary];
    if (tried.length) lines.push('Tried:', ...tried.map(attempt));
    if (found) lines.push(`Found: ${found}`);
    if (needed) lines.push(`Needed: ${needed}`);
    if (remedies.length) lines.push('What helps:', ...remedies.map((remedy) => `  ${remedy}`));
    super(lines.join('\n'));
    this.name = 'SetupError';
    this.code = code;
  }
}

/** @param {{ source: string, path?: string | undefined, outcome: string }} attempt */
function attempt({ source, path, outcome }) {
  return `  ${source}: ${path ? `${path} ` : ''}${outcome}`;
}

/**
 * Ends the process the way a set-up script does: a SetupError without its stack, anything else with it.
 * @param {unknown} error
 */
export function fail(error) {
  const text = error instanceof SetupError ? `cortorch: [${error.code}] ${error.message}` : error;
  console.error(text);
  process.exitCode = 1;
}
